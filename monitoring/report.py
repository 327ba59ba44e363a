"""The checks as one page of HTML: no network, no script; a phone can read it, and so can a mail program.

Every figure stands in a table; the drawings (inline SVG) repeat some of them for the eye, since many mail programs leave
drawings out. All texts come from events and models: nothing of them is ever markup.
"""

import html
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from monitoring.tally import AGES, Failure

MAX_TEXT_CHARS = 300
WIDTH, HEIGHT, MARGIN = 320, 90, 6  # of a drawing, in its own units

_STYLE = """
body{font:16px/1.45 -apple-system,"Segoe UI",Roboto,sans-serif;margin:0 auto;max-width:46em;padding:1em;color:#1b1f24;
background:#fff}h1{font-size:1.35em}h2{font-size:1.1em;margin:2em 0 .4em}table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.3em .5em;border-bottom:1px solid #d8dee4;vertical-align:top;overflow-wrap:anywhere}
th{font-weight:600;color:#57606a;font-size:.85em}.n{text-align:right;font-variant-numeric:tabular-nums}
.bad{color:#b3261e;font-weight:600}.good{color:#1a7f37}.quiet{color:#57606a;font-size:.85em}
.wide{overflow-x:auto}.pair{border:1px solid #d8dee4;border-radius:6px;padding:.6em .8em;margin:.6em 0}
.pair td{border:0;width:50%}svg{width:100%;height:auto;display:block}
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}th,.quiet{color:#9da7b3}}
"""


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


def render(report: Report) -> str:
    """The whole page."""
    parts = [
        "<h1>Upkeep: what the edits left alone, and what they kept</h1>",
        f'<p class="quiet">{_moment(report.made_at)} UTC, base {_text(report.base_hash)}</p>',
        f'<p class="bad">Batches are held: {_text(report.held)}</p>' if report.held else "",
        _newest(report),
        *(_suite(name, points) for name, points in report.suites.items()),
        _retention(report.suites.get("retention", ())),
        *(_worst(name, failures) for name, failures in report.worst.items() if failures),
        _generations(report.generations),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>Upkeep: checks</title><style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _newest(report: Report) -> str:
    rows = [
        (
            _text(name),
            _verdict(points[-1].passed),
            _number(points[-1].share),
            f"{_number(points[-1].low)} to {_number(points[-1].high)}",
            str(points[-1].probes),
            str(points[-1].generation),
            _moment(points[-1].at),
        )
        for name, points in report.suites.items()
        if points
    ]
    columns = ("suite", "verdict", "share", "95 % interval", "asked", "generation", "at (UTC)")
    return "<h2>The newest checks</h2>" + (_table(columns, rows) if rows else "<p>No check was run yet.</p>")


def _suite(name: str, points: Sequence[Point]) -> str:
    latest = points[-1].scores
    told = [(_text(score), _number(value)) for score, value in latest.items() if value is not None]
    return (
        f"<h2>{_text(name)}, over generations {points[0].generation} to {points[-1].generation}</h2>"
        f"{_drawing(points)}{_table(('score of the newest check', 'value'), told)}"
    )


def _retention(points: Sequence[Point]) -> str:
    """Retention by age, as the newest check that tells it."""
    if not points:
        return ""
    scores = points[-1].scores
    rows = []
    for age in AGES:
        end = "" if age == "all" else f"_{age}"
        prompt, rephrase = scores.get(f"retention{end}"), scores.get(f"retention_rephrase{end}")
        live = "all" if age == "all" else f"at most {age.removesuffix('d')} days"
        rows.append((live, _number(prompt), _bar(prompt), _number(rephrase)))
    columns = ("live for", "prompt", "", "rephrase")
    return f"<h2>Retention by age</h2>{_table(columns, rows)}"


def _worst(name: str, failures: Sequence[Failure]) -> str:
    base = "must be" if name == "retention" else "the base"
    pairs = []
    for failure in failures:
        fired = f"answered by edit {_text(failure.fired)}" if failure.fired is not None else "no edit fired"
        pairs.append(
            f'<div class="pair"><b>{_text(failure.prompt)}</b><table role="presentation"><tr>'
            f'<td><span class="quiet">{base}</span><br>{_text(failure.wanted)}</td>'
            f'<td><span class="quiet">edited</span><br><span class="bad">{_text(failure.given)}</span></td>'
            f'</tr></table><span class="quiet">{fired}; KL {_number(failure.kl)}</span></div>'
        )
    return f"<h2>{_text(name)}: the worst probes of the newest check</h2>{''.join(pairs)}"


def _generations(steps: Sequence[Step]) -> str:
    rows = [(str(step.number), _moment(step.at), _text(step.cause)) for step in steps]
    return f"<h2>Generations</h2>{_table(('number', 'at (UTC)', 'cause'), rows)}" if rows else ""


def _drawing(points: Sequence[Point]) -> str:
    """The share over the checks, with its interval as a band and failed checks as red dots."""
    known = [point for point in points if point.share is not None]
    if len(known) < 2:
        return ""
    bottom = min(0.95, *(point.low if point.low is not None else 1.0 for point in known))

    def x(index: int) -> float:
        return MARGIN + (WIDTH - 2 * MARGIN) * index / (len(known) - 1)

    def y(share: float | None) -> float:
        value = 1.0 if share is None else share
        return MARGIN + (HEIGHT - 2 * MARGIN) * (1 - value) / (1 - bottom)

    def path(values: Sequence[float | None]) -> list[str]:
        return [f"{x(index):.1f},{y(value):.1f}" for index, value in enumerate(values)]

    band = path([point.high for point in known]) + path([point.low for point in known])[::-1]
    dots = "".join(
        f'<circle cx="{x(i):.1f}" cy="{y(point.share):.1f}" r="2.4" fill="{_colour(point.passed)}">'
        f"<title>generation {point.generation}: {_number(point.share)}</title></circle>"
        for i, point in enumerate(known)
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="share over the checks, from '
        f'{_number(bottom)} to 1"><polygon points="{" ".join(band)}" fill="#9ec5fe" '
        f'opacity=".45"/><polyline points="{" ".join(path([p.share for p in known]))}" fill="none" '
        f'stroke="#0969da" stroke-width="1.4"/>{dots}</svg>'
        f'<p class="quiet">bottom {_number(bottom)}, top 1; the band is the 95 % interval</p>'
    )


def _bar(share: float | None) -> str:
    if share is None:
        return ""
    return (
        '<svg viewBox="0 0 100 10" preserveAspectRatio="none" style="width:9em;height:.8em" aria-hidden="true">'
        f'<rect width="100" height="10" fill="#d8dee4"/><rect width="{100 * share:.1f}" height="10" '
        'fill="#0969da"/></svg>'
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells are HTML already."""
    head = "".join(f"<th>{column}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _verdict(passed: bool) -> str:
    return '<span class="good">passed</span>' if passed else '<span class="bad">FAILED</span>'


def _colour(passed: bool) -> str:
    return "#0969da" if passed else "#b3261e"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _moment(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M")


def _text(value: str) -> str:
    """A foreign text as text: bounded, escaped, and without characters that hide or turn what stands around them."""
    clipped = value if len(value) <= MAX_TEXT_CHARS else value[: MAX_TEXT_CHARS - 1] + "…"
    plain = "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn") else char
        for char in clipped
    )
    return html.escape(plain) or '<span class="quiet">(nothing)</span>'
