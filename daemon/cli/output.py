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
HANGING = 4  # columns that a value is indented by where its longest word has no room behind its name


class Terminal(Console):
    """Where people read: no word is broken, no line cut.

    A word that is longer than a line (an address, an event's id) goes on beyond it: a terminal shows it on two lines, and
    copies it as one.
    """

    def print(self, *objects: Any, **options: Any) -> None:
        """As Rich does, but for words that are too long."""
        if all(isinstance(one, str) for one in objects):
            objects = tuple("\n".join(_lines(one, self.width)) for one in objects)
            options["soft_wrap"] = True
        super().print(*objects, **{"crop": False, **options})


def console(*, stderr: bool = False, width: int | None = None) -> Terminal:
    """Where a command prints; `width` in columns, None: as wide as it is."""
    return Terminal(highlight=False, stderr=stderr, width=width)


_printed: list[bool] = []


def print_json(value: Any) -> None:
    """One JSON object on stdout; dataclasses, times, enums and paths as one expects."""
    _printed.append(True)
    json.dump(plain(value), sys.stdout, ensure_ascii=False, indent=2, allow_nan=False)
    sys.stdout.write("\n")


def forget_printed() -> None:
    """A new command begins."""
    _printed.clear()


def error_object(message: str, kind: str, code: int) -> dict[str, Any]:
    """An error as programs read it, alike for all commands."""
    return {"error": {"message": message, "type": kind, "code": code}}


def print_error_json(message: str, kind: str, code: int) -> None:
    """An error as one JSON object on stdout, unless the command has printed its own object before."""
    if not _printed:
        print_json(error_object(message, kind, code))


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
    """A table where the terminal is wide enough for every word of it; else each row by itself, a line for each column.

    Of a table of names and values each row is a line as it is.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Paragraph(self.title, 0, "bold")
        widest = [max(map(_widest_word, cells)) for cells in zip(self.columns, *self.rows, strict=True)]
        if sum(widest) + 3 * len(widest) + 1 <= options.max_width:
            room = options.max_width - 3 * len(widest) - 1
            yield self._table(_widths(widest, self._longest(), room))
        else:
            yield from self._records()

    def _longest(self) -> list[int]:
        return [max(map(cell_len, cells)) for cells in zip(self.columns, *self.rows, strict=True)]

    def _table(self, widths: Sequence[int]) -> Table:
        made = Table()
        for column, width in zip(self.columns, widths, strict=True):
            made.add_column(Text(column), overflow="fold", width=width)
        for row in self.rows:
            made.add_row(*map(Text, row))
        return made

    def _records(self) -> RenderResult:
        if len(self.columns) == 2:
            yield fields([(name, value) for name, value in self.rows])
            return
        for row in self.rows:
            yield fields([pair for pair in zip(self.columns, row, strict=True) if pair[1] != NOTHING])
            yield ""


def fields(rows: Sequence[tuple[str, object]]) -> "Fields":
    """A line for each name and its value; a long value goes on under its beginning."""
    return Fields([(name, shown(value)) for name, value in rows])


@dataclasses.dataclass(frozen=True, slots=True)
class Fields:
    """Names and their values. One with a word that has no room behind its name begins on the next line."""

    rows: Sequence[tuple[str, str]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        behind = max((cell_len(name) for name, _ in self.rows), default=0) + 2
        for name, value in self.rows:
            hangs = behind + _widest_word(value) > options.max_width
            indent = HANGING if hangs else behind
            lines = [" " * indent + line for line in _lines(value, options.max_width - indent)]
            if hangs:
                yield _whole(Text(name, style="dim"))
            else:
                yield _whole(Text.assemble((name, "dim"), lines.pop(0)[cell_len(name) :]))
            yield from (_whole(Text(line)) for line in lines)


@dataclasses.dataclass(frozen=True, slots=True)
class Paragraph:
    """A text whose every line is so far from the left edge."""

    text: str
    indent: int
    style: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in _lines(self.text, options.max_width - self.indent):
            yield _whole(Text(" " * self.indent + line, style=self.style))


def _lines(text: str, width: int) -> list[str]:
    """Lines of so many columns, broken at blanks; a word that is wider stands whole on a line of its own."""
    lines: list[str] = []
    for line in text.split("\n"):
        if cell_len(line) <= width:
            lines.append(line)
            continue
        lines.append("")
        for word in line.split(" "):
            longer = f"{lines[-1]} {word}" if lines[-1] else word
            if lines[-1] and cell_len(longer) > width:
                lines.append(word)
            else:
                lines[-1] = longer
    return lines


def _whole(line: Text) -> Text:
    line.no_wrap, line.overflow = True, "ignore"
    return line


def _widths(least: Sequence[int], longest: Sequence[int], room: int) -> list[int]:
    """A width for each column: its widest word, and of what is left, a place at a time, to whom most is missing.

    Rich's own sharing forgets the least widths, and cuts off the table's right edge.
    """
    widths = list(least)
    for _ in range(room - sum(least)):
        missing = [most - width for most, width in zip(longest, widths, strict=True)]
        if max(missing) <= 0:
            break
        widths[missing.index(max(missing))] += 1
    return widths


def _widest_word(cell: str) -> int:
    return max(map(cell_len, cell.split()), default=1)


def paragraph(text: str, indent: int, style: str = "") -> Paragraph:
    """A text whose every line is so far from the left edge; never read as markup."""
    return Paragraph(text, indent, style)


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
