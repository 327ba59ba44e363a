"""A line chart as SVG text, for the plots in docs/: two axes, a few lines, no library."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, MARGIN = 640, 400, 60
COLOURS = ("#1b6ca8", "#c8553d", "#4f772d", "#7b5ea7")


@dataclass(frozen=True)
class ChartLine:
    """A name and its points (x, y)."""

    name: str
    points: Sequence[tuple[float, float]]


def chart(lines: Sequence[ChartLine], *, x: str, y: str, log_x: bool = False) -> str:
    """The lines in one frame, whose axes span what the points do."""
    xs = [math.log10(p[0]) if log_x else p[0] for line in lines for p in line.points]
    ys = [p[1] for line in lines for p in line.points]
    left, right = _span(xs)
    bottom, top = _span(ys)

    def place(point: tuple[float, float]) -> tuple[float, float]:
        across = math.log10(point[0]) if log_x else point[0]
        return (
            MARGIN + (across - left) / (right - left) * (WIDTH - 2 * MARGIN),
            HEIGHT - MARGIN - (point[1] - bottom) / (top - bottom) * (HEIGHT - 2 * MARGIN),
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<path d="M{MARGIN} {MARGIN}V{HEIGHT - MARGIN}H{WIDTH - MARGIN}" fill="none" stroke="#444"/>',
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 14}" text-anchor="middle">{escape(x)}</text>',
        f'<text transform="translate(16 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">{escape(y)}</text>',
    ]
    for share in (0.0, 0.5, 1.0):
        across, up = left + share * (right - left), bottom + share * (top - bottom)
        label = f"{10**across:.0f}" if log_x else f"{across:.3g}"
        at = MARGIN + share * (WIDTH - 2 * MARGIN)
        parts.append(f'<text x="{at}" y="{HEIGHT - MARGIN + 18}" text-anchor="middle">{label}</text>')
        at = HEIGHT - MARGIN - share * (HEIGHT - 2 * MARGIN)
        parts.append(f'<text x="{MARGIN - 8}" y="{at + 4}" text-anchor="end">{up:.3g}</text>')
    for number, line in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        where = [place(point) for point in line.points]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in where)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in where]
        parts.append(
            f'<text x="{MARGIN + 12}" y="{MARGIN - 28 + 17 * number}" fill="{colour}">{escape(line.name)}</text>'
        )
    return "\n".join([*parts, "</svg>\n"])


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.05, high + 0.05)
