"""The checks as one page of HTML: no network, no script; a phone can read it, and so can a mail program.

Every figure stands in a table; the drawings (inline SVG) repeat some of them for the eye, since many mail programs leave
drawings out. All texts come from events and models: nothing of them is ever markup.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from jinja2 import Environment, PackageLoader, StrictUndefined

from monitoring.checks.parity import PARITY
from monitoring.checks.score_words import days, worded_scores
from monitoring.checks.share_plot import SharePoint, share_plot
from monitoring.checks.tally import AGE_DAYS, AGES, RETENTION, Failure

MAX_TEXT_CHARS = 300
_COMPARED = {RETENTION: ("must be", "edited"), PARITY: ("in process", "through the gateway")}
_SHARES = {
    RETENTION: "share of facts that are kept (1: all)",
    PARITY: "share of answers that agree (1: all)",
}
_ASKED = {
    "far": "Asks what has nothing to do with any edit: the edited model must answer as the base does.",
    "relation": "Asks an edited relation of subjects that no live edit names: they must be answered as by the base.",
    "subject": "Asks other relations of edited subjects: they must be answered as by the base.",
    "text": "Reads running text that asks nothing: no edit may fire on it.",
    RETENTION: "Asks the edited facts, by their prompt and in other words: they must be answered as they were edited.",
    PARITY: "Asks the same of the gateway and of the model in process: both must answer alike.",
}


@dataclass(frozen=True, slots=True)
class Point(SharePoint):
    """One check of one suite, with all its scores and how many probes were asked."""

    probes: int
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
        floors: the share below which a suite's check fails.
    """

    made_at: datetime
    base_hash: str
    suites: Mapping[str, Sequence[Point]]
    worst: Mapping[str, Sequence[Failure]]
    generations: Sequence[Step]
    held: str | None = None
    floors: Mapping[str, float] = field(default_factory=dict)


def render(report: Report) -> str:
    """The whole page."""
    page = Environment(
        loader=PackageLoader("monitoring.checks"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    page.filters.update(
        plain=_plain, number=_number, moment=_moment, worded=worded_scores, compared=compared_words
    )
    return page.get_template("report.html.jinja").render(
        report=report,
        drawings={
            name: share_plot(points, report.floors.get(name)) for name, points in report.suites.items()
        },
        words={name: share_words(name) for name in report.suites},
        asked={name: asked_words(name) for name in report.suites},
        retention=_retention(report.suites.get(RETENTION, ())),
    )


def share_words(suite: str) -> str:
    """What the share of a suite's checks is of."""
    return _SHARES.get(suite, "share of answers that stayed (1: all)")


def asked_words(suite: str) -> str:
    """What a suite asks and what must come of it, in one sentence."""
    return _ASKED.get(
        suite, "Asks the probes of your own file: the edited model must answer as the base does."
    )


def compared_words(suite: str) -> tuple[str, str]:
    """What a failing probe's two answers are: the one that is wanted, and the one that came."""
    return _COMPARED.get(suite, ("the base", "edited"))


def _retention(points: Sequence[Point]) -> list[tuple[str, float | None, float | None]]:
    """Retention by age, of prompts and of rephrases, as the newest check tells it."""
    rows = []
    for age in AGES if points else ():
        end = "" if age == "all" else f"_{age}"
        live = "all" if age == "all" else f"at most {days(AGE_DAYS[age])}"
        scores = points[-1].scores
        rows.append((live, scores.get(f"retention{end}"), scores.get(f"retention_rephrase{end}")))
    return rows


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
