"""The options that many commands share, and how a command gets at its settings and its ledger."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from daemon.ledger import Ledger
    from daemon.process.settings import Settings

ConfigOption = Annotated[
    Path,
    typer.Option(
        "--config", "-c", envvar="UPKEEP_CONFIG", help="The settings file; `upkeep init` writes one."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]

DEFAULT_CONFIG = Path("upkeep.toml")
EMBEDDED_STATE = Path("upkeep-data")  # where the default settings keep ledger and store, too


def one_off_settings(config: Path) -> "Settings":
    """The settings, for a one-off command: only warnings are logged, for human eyes."""
    from daemon.process.log import configure_logging
    from daemon.process.settings import load_settings
    from daemon.process.settings_tables import LogSettings

    settings = load_settings(found_config(config))
    configure_logging(LogSettings(level="warning", as_json=False), "cli")
    return settings


def found_config(config: Path) -> Path:
    """The settings file; where none was named and none lies here, the one of the embedded daemon of this folder."""
    embedded = EMBEDDED_STATE / config
    return embedded if config == DEFAULT_CONFIG and not config.exists() and embedded.is_file() else config


@contextmanager
def ledger_of(settings: "Settings") -> Iterator["Ledger"]:
    """The ledger, brought up to this release, and closed at the end."""
    from daemon.ledger import open_ledger

    with open_ledger(settings.ledger.url) as ledger:
        ledger.migrate()
        yield ledger
