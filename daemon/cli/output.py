"""How commands print: one JSON object for programs, tables for people; data on stdout, all else on stderr."""

import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def console() -> Console:
    """Where people read."""
    return Console(highlight=False)


def print_json(value: Any) -> None:
    """One JSON object on stdout; dataclasses, times, enums and paths as one expects."""
    json.dump(plain(value), sys.stdout, ensure_ascii=False, indent=2, allow_nan=False)
    sys.stdout.write("\n")


def plain(value: Any) -> Any:
    """The same value from dicts, lists, texts and numbers only."""
    match value:
        case Enum():
            return value.value
        case datetime():
            return value.isoformat()
        case Path():
            return str(value)
        case Mapping():
            return {str(plain(key)): plain(item) for key, item in value.items()}
        case str() | int() | float() | None:
            return value
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        case Iterable():
            return [plain(item) for item in value]
        case _:
            return str(value)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table of texts; what comes from events is shown as it is, never read as markup."""
    made = Table(title=Text(shown(title)), title_justify="left", title_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(Text(shown(cell)) for cell in row))
    return made


def shown(value: object) -> str:
    """A cell: times to the second, ratios to three places, a dash for nothing; no control characters."""
    match plain(value):
        case None | "":
            return "-"
        case float(number):
            return f"{number:.3f}"
        case text if isinstance(value, datetime):
            return str(text)[:19].replace("T", " ")
        case other:
            # A terminal would obey escape sequences that an event smuggled in.
            return "".join(char if char.isprintable() else "\ufffd" for char in str(other))
