"""Turn a page's values into HTML: one environment, in which every foreign text is escaped, bounded and kept in its place."""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from importlib.resources import files
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from daemon.console.web.visits import ROOT, address
from edits.text import counted

CELL_CHARS = 160  # of a foreign text in a table
WHOLE_CHARS = 20  # of a word that no cell is too narrow for
LONG_CHARS = 4_000  # of the same on a page of its own
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn")
_KEPT = "\u200c\u200d"  # joiners, without which Persian and emoji fall apart
_PARTS = re.compile(r"[^\W_]*[\W_]+|[^\W_]+")  # each with the punctuation behind it
STATIC_TYPES = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}

MENU = (
    ("Timeline", "/"),
    ("Facts", "/facts"),
    ("Ask", "/ask"),
    ("Failures", "/failures"),
    ("Checks", "/checks"),
    ("Work", "/work"),
    ("Audit", "/audit"),
)


class Renderer:
    """The templates and the static files of the package.

    Args:
        filters: what the pages' own templates call, by name.
    """

    def __init__(self, filters: Mapping[str, Callable[..., Any]] | None = None) -> None:
        self._filters = dict(filters or {})

    @cached_property
    def statics(self) -> Mapping[str, bytes]:
        """The style sheet and the script, by name."""
        folder = files("daemon.console") / "static"
        return {name: (folder / name).read_bytes() for name in STATIC_TYPES}

    @cached_property
    def _environment(self) -> Environment:
        environment = Environment(
            loader=ChoiceLoader(
                [
                    PackageLoader("daemon.console", "templates"),
                    PackageLoader("monitoring.checks", "templates"),
                ]
            ),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters.update(
            plain=plain,
            fact=fact,
            long=long,
            moment=moment,
            share=share,
            whole=whole,
            lasting=lasting,
            pairs=pairs,
            batch=batch,
            counted=counted,
        )
        environment.filters.update(self._filters)
        environment.globals.update(root=ROOT, menu=MENU, address=address, static=self.static_address)
        return environment

    def static_address(self, name: str) -> str:
        """Where a static file is had; the address changes with the content, so browsers may keep it for ever."""
        digest = hashlib.sha256(self.statics[name]).hexdigest()[:12]
        return f"{ROOT}/static/{digest}/{name}"

    def render(self, template: str, values: Mapping[str, Any]) -> str:
        """One whole page."""
        return self._environment.get_template(template).render(values)


def plain(value: object, limit: int = CELL_CHARS) -> str:
    """A foreign text, bounded, without characters that hide or turn what stands around them; the page escapes it."""
    text = str(value)
    clipped = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if _is_hidden(char) else char for char in " ".join(clipped.split("\n"))
    )


def fact(value: object | None, limit: int = CELL_CHARS) -> Markup:
    """A foreign text as a part of a line: written in its own direction, which the line keeps out of."""
    if value is None or value == "":
        return Markup('<span class="quiet">(nothing)</span>')
    words = Markup(" ").join(_breakable(word) for word in plain(value, limit).split(" "))
    return Markup('<bdi class="fact">{}</bdi>').format(words)


def _breakable(word: str) -> Markup:
    """A word that stands whole on its line; a long one may go on behind its punctuation, or anywhere if it has none."""
    if len(word) <= WHOLE_CHARS:
        return escape(word)
    parts = (
        escape(part) if len(part) <= WHOLE_CHARS else Markup('<span class="long">{}</span>').format(part)
        for part in _PARTS.findall(word)
    )
    return Markup("<wbr>").join(parts)


def long(value: str, limit: int = LONG_CHARS) -> Markup:
    """A foreign text of several lines, as it was written, up to a bound."""
    shown = "".join(
        "\N{REPLACEMENT CHARACTER}" if char not in "\n\t" and _is_hidden(char) else char
        for char in value[:limit]
    )
    more = len(value) - limit
    rest = Markup('\n<span class="quiet">… and {} more characters</span>').format(f"{more:,}")
    return Markup('<pre class="fact" dir="auto" tabindex="0">{}{}</pre>').format(
        shown, rest if more > 0 else ""
    )


def moment(at: datetime | None) -> Markup:
    """A time in UTC, to the second for the machine and to the minute for the eye; a script makes it local."""
    if at is None:
        return Markup('<span class="quiet">never</span>')
    at = at.astimezone(UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        at.strftime("%Y-%m-%dT%H:%M:%SZ"), at.strftime("%Y-%m-%d %H:%M")
    )


def pairs(found: Mapping[str, Any]) -> Markup:
    """The few named values of an audit entry; those that name something of the console lead there."""
    shown = []
    for name, value in found.items():
        to = {"generation": "/generations/", "edit": "/facts/"}.get(name)
        if to is not None and isinstance(value, int):
            shown.append(Markup('{} <a href="{}{}{}">{}</a>').format(name, ROOT, to, value, value))
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            shown.append(Markup("{} {}").format(plain(name.replace("_", " "), 40), fact(text)))
    return Markup(", ").join(shown)


def batch(number: int, words: str = "") -> Markup:
    """A batch's number, behind such words, leading to its facts."""
    return Markup('<a class="whole" href="{}">{}{}</a>').format(
        address("/facts", batch=number), words, number
    )


def share(value: float | None, places: int = 3) -> str:
    """A score from 0 to 1."""
    return "–" if value is None else f"{value:.{places}f}"


def whole(value: int | None) -> str:
    """A count, with its thousands apart."""
    return "–" if value is None else f"{value:,}"


def lasting(span: timedelta | float | None) -> str:
    """A duration in its one or two greatest units."""
    if span is None:
        return "–"
    seconds = max(int(span.total_seconds() if isinstance(span, timedelta) else span), 0)
    parts: list[str] = []
    for unit, size in _UNITS:
        if seconds >= size or (unit == "s" and not parts):
            parts.append(f"{seconds // size} {unit}")
            seconds %= size
    return " ".join(parts[:2])


_UNITS: Sequence[tuple[str, int]] = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def _is_hidden(char: str) -> bool:
    return unicodedata.category(char) in _HIDDEN and char not in _KEPT
