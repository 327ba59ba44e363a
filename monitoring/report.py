"""The checks as one page of HTML: no network, no script; a phone can read it, and so can a mail program.

Every figure stands in a table; the drawings (inline SVG) repeat some of them for the eye, since many mail programs leave
drawings out. All texts come from events and models: nothing of them is ever markup.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from jinja2 import Environment, PackageLoader, StrictUndefined

from monitoring.tally import AGES, Failure

MAX_TEXT_CHARS = 300
WIDTH, HEIGHT, MARGIN = 320, 90, 6  # of a drawing, in its own units


@dataclass(frozen=True, slots=True)
class Point:
    """One check of one suite; `share` is locality, or for retention the share of facts that are kept."""

    generation: int
    at: datetime
    passed: bool
    probes: int
    share: float | None
    low: float | None
    high: float | None
    scores: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Step:
    """A published generation."""

    number: int
    at: datetime
    cause: str


@dataclass(frozen=True, slots=True)
class Report:
    """What the page tells.

    Attributes:
        suites: the checks of each suite, the oldest first.
        worst: failing probes of each suite's newest check.
        generations: the newest ones, the newest first.
        held: why batches are held, if they are.
    """

    made_at: datetime
    base_hash: str
    suites: Mapping[str, Sequence[Point]]
    worst: Mapping[str, Sequence[Failure]]
    generations: Sequence[Step]
    held: str | None = None


@dataclass(frozen=True, slots=True)
class _Drawing:
    """The shares of one suite's checks as the page draws them; coordinates are text, in the drawing's own units."""

    bottom: float
    band: str
    line: str
    dots: Sequence[tuple[str, str, Point]]
    width: int = WIDTH
    height: int = HEIGHT


def render(report: Report) -> str:
    """The whole page."""
    page = Environment(
        loader=PackageLoader("monitoring"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    page.filters.update(plain=_plain, number=_number, moment=_moment)
    return page.get_template("report.html.jinja").render(
        report=report,
        drawings={name: _drawing(points) for name, points in report.suites.items()},
        retention=_retention(report.suites.get("retention", ())),
    )


def _retention(points: Sequence[Point]) -> list[tuple[str, float | None, float | None]]:
    """Retention by age, of prompts and of rephrases, as the newest check tells it."""
    rows = []
    for age in AGES if points else ():
        end = "" if age == "all" else f"_{age}"
        live = "all" if age == "all" else f"at most {age.removesuffix('d')} days"
        scores = points[-1].scores
        rows.append((live, scores.get(f"retention{end}"), scores.get(f"retention_rephrase{end}")))
    return rows


def _drawing(points: Sequence[Point]) -> _Drawing | None:
    """The share over the checks, with its interval as a band and a dot for each; None of fewer than two."""
    known = [point for point in points if point.share is not None]
    if len(known) < 2:
        return None
    bottom = min(0.95, *(point.low if point.low is not None else 1.0 for point in known))

    def x(index: int) -> str:
        return f"{MARGIN + (WIDTH - 2 * MARGIN) * index / (len(known) - 1):.1f}"

    def y(share: float | None) -> str:
        value = 1.0 if share is None else share
        return f"{MARGIN + (HEIGHT - 2 * MARGIN) * (1 - value) / (1 - bottom):.1f}"

    def path(values: Sequence[float | None]) -> list[str]:
        return [f"{x(index)},{y(value)}" for index, value in enumerate(values)]

    band = path([point.high for point in known]) + path([point.low for point in known])[::-1]
    return _Drawing(
        bottom=bottom,
        band=" ".join(band),
        line=" ".join(path([point.share for point in known])),
        dots=[(x(index), y(point.share), point) for index, point in enumerate(known)],
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _moment(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M")


def _plain(value: str) -> str:
    """A foreign text, bounded and without characters that hide or turn what stands around them; the page escapes it."""
    clipped = value if len(value) <= MAX_TEXT_CHARS else value[: MAX_TEXT_CHARS - 1] + "…"
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn") else char
        for char in clipped
    )
