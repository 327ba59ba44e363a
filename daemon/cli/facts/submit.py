"""`upkeep submit`: send a file of fact events to Kafka, after every line has been checked."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption, missing_ledger, one_off_settings
from edits.text import counted

if TYPE_CHECKING:
    from daemon.ingest.seen_events import Known
    from daemon.ingest.submit import SubmitProgress, SubmitReport
    from daemon.settings.settings import Settings


def submit(
    file: Annotated[
        Path,
        typer.Argument(help="One event a line, as docs/fact-event.schema.json says; -: standard input."),
    ],
    skip_invalid: Annotated[
        bool, typer.Option("--skip-invalid", help="Send the good lines although there are bad ones.")
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Check a JSONL file of fact events, then send it to Kafka.

    If one line is bad, or has an event_id that was used before with other content, nothing is sent. What the file
    or the ledger has already is a duplicate, and is not sent again.

    \b
    Example:
      upkeep submit facts.jsonl, where a line of facts.jsonl is
      {"event_id": "e1", "op": "assert", "subject": "France",
       "prompt": "The capital of France is", "target_new": "Lyon"}
    """
    from daemon.cli.output import console, error_object, plain, print_json
    from daemon.ingest.submit import SubmitRefused, submit_file

    settings = one_off_settings(config)
    try:
        with _whole_file(file) as path, _known_to(settings) as known, _ProgressBar(hidden=as_json) as bar:
            name = "standard input" if path != file else None
            report = submit_file(
                path, settings, on_progress=bar.show, skip_invalid=skip_invalid, known=known, name=name
            )
    except SubmitRefused as refusal:
        if as_json:
            print_json({**plain(refusal.report), **error_object(str(refusal), "permanent", 1)})
        else:
            _print_faults(refusal.report)
        raise
    if as_json:
        print_json(report)
        return
    _print_faults(report)
    console().print(
        f"{counted(report.sent, 'event')} sent to {settings.kafka.topic}, {counted(report.duplicates, 'duplicate')} and "
        f"{counted(report.invalid, 'bad line')} left out",
        markup=False,
    )


@contextmanager
def _whole_file(file: Path) -> "Iterator[Path]":
    """The file, which is read twice; standard input is kept in one until then."""
    if str(file) != "-":
        yield file
        return
    with tempfile.NamedTemporaryFile(prefix="upkeep-submit-") as kept:
        shutil.copyfileobj(sys.stdin.buffer, kept)
        kept.flush()
        yield Path(kept.name)


@contextmanager
def _known_to(settings: "Settings") -> "Iterator[Known | None]":
    """What the ledger knows of event ids; None where this machine has no ledger that can be read."""
    from daemon.ledger import open_ledger
    from edits.errors import UpkeepError

    if missing_ledger(settings) is not None:
        yield None
        return
    with open_ledger(settings.ledger.url, busy_seconds=1.0) as ledger:
        try:
            ledger.migrate()
            ledger.intake.known(["-"])
        except UpkeepError as error:
            typer.echo(f"upkeep: the ledger is not asked for duplicates: {error}", err=True)
            yield None
        else:
            yield ledger.intake.known


def _print_faults(report: "SubmitReport") -> None:
    from daemon.cli.output import console, table

    if report.faults:
        rows = [(fault.line, fault.reason_code, fault.reason) for fault in report.faults]
        console().print(
            table(f"bad lines ({len(rows)} of {report.invalid})", ("line", "code", "reason"), rows)
        )


class _ProgressBar:
    """Rich's progress bar over the bytes of the file, once for each stage; on stderr."""

    def __init__(self, *, hidden: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[events]} events"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=hidden,
        )
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> "_ProgressBar":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, at: "SubmitProgress") -> None:
        """Move the bar of this stage."""
        if at.stage not in self._tasks:
            self._tasks[at.stage] = self._progress.add_task(at.stage, total=at.total_bytes, events=0)
        self._progress.update(self._tasks[at.stage], completed=at.done_bytes, events=at.events)
