"""The `upkeep` command, and the place to start reading.

One event, in order; each module opens with what it promises:

    daemon/events/fact_event.py        what a Kafka record must say                 (upkeep submit)
    daemon/ingest/consumer.py          topic -> ledger                              (upkeep consume)
    daemon/ledger/                     every event, edit, batch and generation      (upkeep status, facts)
    daemon/planning/scheduler.py       when what happens                            (upkeep schedule)
    daemon/planning/cycle.py           pending edits -> a plan, by planners/        (upkeep plan)
    daemon/work/worker.py              a batch -> experts, by editors/              (upkeep worker, apply)
    daemon/work/verify.py              no generation goes live unverified
    daemon/checks/claimed_check.py     is the rest as it was? by monitoring/        (upkeep check)
    daemon/serving/serve_role.py       answers over HTTP                            (upkeep serve, ask)
    daemon/gateway/gateway_role.py     picks the edit in front of vLLM              (upkeep gateway)
    daemon/console/app.py              what changed, why, and undo it, as pages     (upkeep console)
    daemon/process/supervisor.py       all roles in one process tree                (upkeep run)

Exit codes: 0 done, 1 not to be done as asked, 2 wrong settings or options, 70 a fault in Upkeep, 75 try later.
"""

import logging
import os
import signal
import sys
from importlib.metadata import entry_points
from typing import Annotated

import typer

from daemon.cli.commands import add_commands
from daemon.cli.help_texts import let_help_flow
from daemon.process.interrupts import interrupt_on
from edits.errors import PermanentError, TemporaryError
from edits.extras import ExtraMissing, extra
from upkeep_llm import __version__

EXIT_PERMANENT = 1
EXIT_SETTINGS = 2
EXIT_FAULT = 70
EXIT_TEMPORARY = 75

_ABORTED = "nothing was done: the answer was no"

PLUGINS = "upkeep.commands"  # entry points: functions that take the app, such as the demo's


def build_app() -> typer.Typer:
    """All commands: ours, and those of installed packages that name an entry point `upkeep.commands`."""
    app = typer.Typer(
        name="upkeep",
        help="Keeps the facts inside a language model current. New here? `upkeep demo` shows it all.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode="rich",
    )
    app.callback()(_options)
    add_commands(app)
    plugins = {plugin.name: plugin for plugin in entry_points(group=PLUGINS)}
    for plugin in plugins.values():
        plugin.load()(app)
    if "demo" not in plugins:
        app.command("demo", rich_help_panel="Start")(_absent_demo)
    let_help_flow(app)
    return app


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"upkeep {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end."),
    ] = False,
) -> None:
    """Options of the command itself, before the name of another."""


def _tell(message: str, kind: str, code: int) -> None:
    """An error, as an object for programs, where they asked for one."""
    if "--json" in sys.argv[1:]:
        from daemon.cli.output import print_error_json

        print_error_json(message, kind, code)


def _absent_demo() -> None:
    """Watch facts change in a running model; needs the extra `demo`."""
    with extra("demo", purpose="the demo"):
        raise ModuleNotFoundError(name="upkeep-llm-demo")


def main() -> None:
    """Run one command; errors that Upkeep knows by name end in one line, without a traceback."""
    # torch's threads wait for each other by spinning. Where worker and server share busy cores that makes each
    # of them up to forty times slower; read when torch is loaded, and inherited by the roles.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    interrupt_on(signal.SIGINT)
    try:
        # typer comes with the library's own requirements: `--help` works without the extra, a command finds out.
        with extra("daemon", purpose="this command"):
            _run(build_app())
    except ExtraMissing as error:
        _end(error, EXIT_PERMANENT)
    except PermanentError as error:
        _end(error, EXIT_SETTINGS if _is_about_settings(error) else EXIT_PERMANENT)
    except TemporaryError as error:
        _end(error, EXIT_TEMPORARY)
    except Exception:
        # A fault of ours: it is logged as the role logs, and `upkeep run` starts the role again.
        logging.getLogger("upkeep").exception("unexpected error")
        _tell("a fault in Upkeep: the log has it", _KINDS[EXIT_FAULT], EXIT_FAULT)
        sys.exit(EXIT_FAULT)


def _run(app: typer.Typer) -> None:
    """Run the command that the arguments name; under --json a wrong option, too, is told as an object."""
    if "--json" not in sys.argv[1:]:
        app()
    from daemon.cli.output import forget_printed

    forget_printed()
    command = typer.main.get_command(app)
    try:
        code = command.main(standalone_mode=False)
    except typer.Abort:
        _tell(_ABORTED, "aborted", EXIT_PERMANENT)
        sys.exit(EXIT_PERMANENT)
    except _UsageError as error:
        error.show()  # type: ignore[attr-defined]
        _tell(str(error), "usage", EXIT_SETTINGS)
        sys.exit(EXIT_SETTINGS)
    sys.exit(code if isinstance(code, int) else 0)


def _is_about_settings(error: PermanentError) -> bool:
    from daemon.settings.complaints import BadSettings

    return isinstance(error, BadSettings)


# Typer's own base class of wrong options and arguments, which is click's or its copy of that.
_UsageError: type[Exception] = typer.BadParameter.__mro__[2]
_KINDS = {
    EXIT_PERMANENT: "permanent",
    EXIT_SETTINGS: "settings",
    EXIT_FAULT: "fault",
    EXIT_TEMPORARY: "temporary",
}


def _end(error: Exception, code: int) -> None:
    from daemon.settings.secrets import mask_text

    message = " ".join(str(error).split()) if "\n" not in str(error) else str(error)
    _tell(message, _KINDS[code], code)
    sys.stderr.write(f"upkeep: {mask_text(message)}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
