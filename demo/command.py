"""`upkeep demo`: everything Upkeep does, in two minutes, on a tiny base and an embedded broker."""

import signal
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

INTERRUPTED = 130


def register(app: typer.Typer) -> None:
    """Add the command to the table of contents."""
    app.command("demo", rich_help_panel="Start")(demo)


def demo(
    json_path: Annotated[
        Path | None,
        typer.Option("--json", dir_okay=False, writable=True, help="Write the summary to this file."),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running at the end, until Ctrl-C.")] = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="Publish changes for ever instead, until Ctrl-C.")
    ] = False,
    rate: Annotated[
        float, typer.Option("--rate", min=0.1, max=10_000, help="Records a second of --stream.")
    ] = 5.0,
    folder: Annotated[
        Path | None, typer.Option("--dir", file_okay=False, help="Work here; unset: ./.upkeep/demo-<time>.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed changes other facts.")] = 0,
    events: Annotated[int, typer.Option("--events", min=300, help="How many records are published.")] = 320,
) -> None:
    """Watch facts change in a running model, from Kafka to the answer.

    Starts an embedded Kafka-compatible broker and the whole daemon with a tiny base model, all on loopback and in
    a folder of its own; publishes a stream of fact updates (new, superseded, late, duplicate, retracted, urgent,
    malformed); shows what becomes of them; and scores the model that comes out. Exit code 0 only if every record
    is accounted for and every score holds.

    \b
    Example:
      upkeep demo
      upkeep demo --keep
      upkeep demo --stream --rate 20
    """
    if stream and (json_path or keep):
        raise typer.BadParameter("--stream runs for ever: there is no summary to write, nothing to keep")
    if json_path is not None and not json_path.absolute().parent.is_dir():
        raise typer.BadParameter(f"there is no folder {json_path.parent}", param_hint="--json")
    from daemon.cli.output import console
    from daemon.process.interrupts import interrupt_on
    from daemon.process.log import configure_logging
    from daemon.settings.tables import LogSettings
    from demo.play.run import Options, run_demo, run_stream
    from demo.play.stage import forget_settings_of_the_environment

    forget_settings_of_the_environment()
    configure_logging(LogSettings(level="warning", as_json=False), "demo")
    interrupt_on(signal.SIGTERM)  # as Ctrl-C does
    place = folder or Path(".upkeep") / f"demo-{datetime.now():%Y%m%d-%H%M%S}"
    options = Options(place.resolve(), seed, events, json_path, keep)
    screen = console()
    if not screen.is_terminal:
        screen = console(width=140)
    try:
        if stream:
            run_stream(options, screen, rate=rate)
        else:
            summary = run_demo(options, screen)
            raise typer.Exit(0 if summary.passed else 1)
    except KeyboardInterrupt:
        screen.print("stopped")
        raise typer.Exit(0 if stream else INTERRUPTED) from None
