"""`upkeep run` and its four roles, each of which can also run alone on a machine of its own."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import DEFAULT_CONFIG, EMBEDDED_STATE, ConfigOption

if TYPE_CHECKING:
    import threading

    from daemon.settings.settings import Settings


def run(
    context: typer.Context,
    config: ConfigOption = DEFAULT_CONFIG,
    embedded: Annotated[
        bool,
        typer.Option("--embedded", help="With a Kafka-compatible broker and a SQLite ledger of its own."),
    ] = False,
    model: Annotated[
        str | None, typer.Option("--model", help="With --embedded: a model's folder, or a hub id.")
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option("--state", help="With --embedded: keep everything here; unset: ./upkeep-data."),
    ] = None,
) -> None:
    """Run the whole daemon: consume, schedule, worker and serve.

    One process for each role; a role that dies is started again. Ctrl-C or SIGTERM stops all of them
    gracefully. With --embedded nothing else is needed, no Kafka, no database and no settings file: for a first hour
    on one machine. The broker holds its records in memory.

    \b
    Example:
      upkeep run --embedded --model ./Qwen2.5-0.5B-Instruct
      upkeep run --config upkeep.toml
      curl -s localhost:8080/readyz
    """
    if embedded:
        raise typer.Exit(_run_embedded(_named_config(context, config), model, state or EMBEDDED_STATE))
    if model is not None or state is not None:
        raise typer.BadParameter(
            "--model and --state go with --embedded; without it the settings file says both"
        )
    settings, stop = _start(config, "run")
    settings.model.required_path()
    from daemon.ledger import open_ledger
    from daemon.process.supervisor import Supervisor, daemon_roles

    with open_ledger(settings.ledger.url) as ledger:
        ledger.migrate()  # once, before four roles ask for it at the same moment
    # Made absolute without following links: relative paths in the file are taken from where its name stands.
    code = Supervisor(daemon_roles(Path(os.path.abspath(config))), stop=stop).run()
    raise typer.Exit(code)


def _named_config(context: typer.Context, config: Path) -> Path | None:
    """The settings file that somebody named, or that lies here; --embedded needs none."""
    source = context.get_parameter_source("config")
    unnamed = source is None or source.name in ("DEFAULT", "DEFAULT_MAP")
    return None if unnamed and not config.exists() else Path(os.path.abspath(config))


def _run_embedded(config: Path | None, model: str | None, state: Path) -> int:
    from daemon.embedded.embedded_run import run_embedded
    from daemon.process.log import configure_logging
    from daemon.process.parent_watch import stop_on_signals
    from daemon.process.temporary import require_temporary_folder
    from daemon.settings.settings import load_settings

    configure_logging(load_settings(config).log, "run")
    require_temporary_folder()
    return run_embedded(state, config, model, asked=stop_on_signals(), say=typer.echo)


def consume(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Run only the consumer: from Kafka into the ledger, and edit outcomes back to Kafka."""
    settings, stop = _start(config, "consume")
    from daemon.ingest.consume_role import run_consume_role
    from daemon.ledger import open_ledger, utc_now
    from daemon.process.telemetry import role_metrics

    with open_ledger(settings.ledger.url) as ledger:
        ledger.migrate()
        run_consume_role(settings, ledger=ledger, metrics=role_metrics(settings), clock=utc_now, stop=stop)


def schedule(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Run only the scheduler: nightly and urgent plans, locality regressions, housekeeping."""
    settings, stop = _start(config, "schedule")
    from daemon.planning.scheduler import run as run_scheduler

    run_scheduler(settings, stop)


def worker(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Run only a worker: train, verify and publish batches on this machine's device."""
    settings, stop = _start(config, "worker")
    from daemon.work.worker import run as run_worker

    run_worker(settings, stop)


def serve(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Run only the HTTP interface: answers, health and metrics."""
    settings, stop = _start(config, "serve")
    from daemon.serving.serve_role import run as run_server

    run_server(settings, stop)


def gateway(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Run only the gateway: an OpenAI-compatible proxy that picks the edit in front of vLLM."""
    settings, stop = _start(config, "gateway")
    from daemon.gateway.gateway_role import run as run_gateway

    run_gateway(settings, stop)


def console(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Run only the console: what changed, why, and undo it; `serve` and `gateway` have it, too.

    \b
    Example:
      upkeep console
      open http://localhost:8091/console/
    """
    settings, stop = _start(config, "console")
    from daemon.console.console_role import run as run_console

    run_console(settings, stop)


def _start(config: Path, role: str) -> "tuple[Settings, threading.Event]":
    """What every role begins with; wrong settings end it here, before anything heavy is imported."""
    from daemon.process.log import configure_logging
    from daemon.process.metrics_folder import count_as
    from daemon.process.parent_watch import stop_on_signals
    from daemon.process.temporary import require_temporary_folder
    from daemon.settings.settings import load_settings

    settings = load_settings(config)
    configure_logging(settings.log, role)
    require_temporary_folder()
    count_as(role)
    return settings, stop_on_signals()
