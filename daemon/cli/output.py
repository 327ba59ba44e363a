"""How commands print: one JSON object for programs, tables for people; data on stdout, all else on stderr."""

import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

NOTHING = "-"


def console() -> Console:
    """Where people read."""
    return Console(highlight=False)


_printed: list[bool] = []


def print_json(value: Any) -> None:
    """One JSON object on stdout; dataclasses, times, enums and paths as one expects."""
    _printed.append(True)
    json.dump(plain(value), sys.stdout, ensure_ascii=False, indent=2, allow_nan=False)
    sys.stdout.write("\n")


def forget_printed() -> None:
    """A new command begins."""
    _printed.clear()


def print_error_json(message: str, kind: str, code: int) -> None:
    """An error as one JSON object on stdout, unless the command has printed its own object before."""
    if not _printed:
        print_json({"error": {"message": message, "type": kind, "code": code}})


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


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> "Rows":
    """A table of texts; what comes from events is shown as it is, never read as markup."""
    return Rows(shown(title), columns, [[shown(cell) for cell in row] for row in rows])


@dataclasses.dataclass(frozen=True, slots=True)
class Rows:
    """A table where the terminal is wide enough for every word of it; else each row by itself, a line for each column."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        widest = [max(map(_widest_word, cells)) for cells in zip(self.columns, *self.rows, strict=True)]
        if sum(widest) + 3 * len(widest) + 1 <= options.max_width:
            yield self._table(widest)
        else:
            yield from self._records()

    def _table(self, widest: Sequence[int]) -> Table:
        made = Table(title=Text(self.title), title_justify="left", title_style="bold")
        for column, width in zip(self.columns, widest, strict=True):
            made.add_column(Text(column), overflow="fold", min_width=width)
        for row in self.rows:
            made.add_row(*map(Text, row))
        return made

    def _records(self) -> RenderResult:
        yield Text(self.title, style="bold")
        names = max(map(len, self.columns))
        for row in self.rows:
            made = Table.grid(padding=(0, 2, 0, 0))
            made.add_column(min_width=names)
            made.add_column(overflow="fold")
            for column, cell in zip(self.columns, row, strict=True):
                if cell != NOTHING:
                    made.add_row(Text(column, style="dim"), Text(cell))
            yield made
            yield ""


def _widest_word(cell: str) -> int:
    return max(map(cell_len, cell.split()), default=1)


def shown(value: object) -> str:
    """A cell: times to the second, ratios to three places, a dash for nothing; no control characters."""
    match plain(value):
        case None | "":
            return NOTHING
        case float(number):
            return f"{number:.3f}"
        case text if isinstance(value, datetime):
            return str(text)[:19].replace("T", " ")
        case other:
            # A terminal would obey escape sequences that an event smuggled in.
            return "".join(char if char.isprintable() else "\ufffd" for char in str(other))
