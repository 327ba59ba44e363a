"""The options that many commands share, and how a command gets at its settings and its ledger."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edits.errors import BadRequest

if TYPE_CHECKING:
    from datetime import datetime

    from daemon.ledger import Ledger
    from daemon.settings.settings import Settings

ConfigOption = Annotated[
    Path,
    typer.Option(
        "--config", "-c", envvar="UPKEEP_CONFIG", help="The settings file; `upkeep init` writes one."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before acting (for scripts).")]
ReasonOption = Annotated[
    str | None,
    typer.Option("--reason", "--cause", help="Why; stands in the history and in the audit log."),
]
PlanReasonOption = Annotated[
    str | None, typer.Option("--reason", help="Why now; stands beside the plan and in the audit log.")
]
LimitOption = Annotated[int, typer.Option("--limit", min=1, max=500, help="At most so many.")]
SinceOption = Annotated[
    str | None, typer.Option("--since", help="8h, 30m or 2d ago, or a time like 2026-05-01T12:00Z.")
]

BY_HAND = "by hand"  # the reason of a script that gives none
DEFAULT_CONFIG = Path("upkeep.toml")
EMBEDDED_STATE = Path("upkeep-data")  # where the default settings keep ledger and store, too


def one_off_settings(config: Path) -> "Settings":
    """The settings, for a one-off command: only warnings are logged, for human eyes."""
    from daemon.process.log import configure_logging
    from daemon.settings.settings import load_settings
    from daemon.settings.tables import LogSettings

    settings = load_settings(found_config(config))
    configure_logging(LogSettings(level="warning", as_json=False), "cli")
    return settings


def moment_of(text: str | None) -> "datetime | None":
    """The time that an option names."""
    from daemon.ledger import utc_now
    from daemon.operations.moments import parse_moment

    try:
        return None if text is None else parse_moment(text, utc_now())
    except BadRequest as error:
        raise typer.BadParameter(str(error)) from None


def agreed(question: str, *, yes: bool, reason: str | None) -> "str":
    """The reason of an action that somebody agrees to; a script says --yes.

    Raises:
        typer.Abort: the answer was no.
        typer.BadParameter: there is nobody to ask.
    """
    if yes:
        return reason or BY_HAND
    if not sys.stdin.isatty():
        raise typer.BadParameter("there is nobody to ask: --yes acts without a question")
    typer.confirm(question, abort=True, err=True)
    return reason or typer.prompt("Why? (stands in the audit log)", err=True)


def found_config(config: Path) -> Path:
    """The settings file; where none was named and none lies here, the one of the embedded daemon of this folder."""
    embedded = EMBEDDED_STATE / config
    return embedded if config == DEFAULT_CONFIG and not config.exists() and embedded.is_file() else config


def missing_ledger(settings: "Settings") -> Path | None:
    """The SQLite file that the settings name and that nobody has begun; a server's database answers for itself."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(settings.ledger.url)
    except ArgumentError:
        return None  # opening it says what is wrong
    if url.get_backend_name() != "sqlite" or not url.database:
        return None
    path = Path(url.database)
    return None if path.exists() else path


@contextmanager
def ledger_of(settings: "Settings") -> Iterator["Ledger"]:
    """The ledger, brought up to this release, and closed at the end; in a wrong folder none is begun.

    Raises:
        LedgerMissing: nobody has begun it.
    """
    from daemon.ledger import open_ledger
    from daemon.ledger.errors import LedgerMissing

    if (missing := missing_ledger(settings)) is not None:
        raise LedgerMissing(
            f"no ledger yet at {missing}: `upkeep run` begins one; is this the folder that you mean?"
        )
    with open_ledger(settings.ledger.url) as ledger:
        ledger.migrate()
        yield ledger


def one_off_ledger(config: Path) -> AbstractContextManager["Ledger"]:
    """The ledger that the settings name, for a one-off command that needs no more of them."""
    return ledger_of(one_off_settings(config))
