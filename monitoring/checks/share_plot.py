"""A suite's shares over its checks as a plot: axes with their words, the 95 % interval as a band, the floor as a line.

What comes out are texts of coordinates in the plot's own units; `templates/share_plot.html.jinja` draws them, for the report
and for the console alike.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

WIDTH, HEIGHT = 360, 190
LEFT, RIGHT, TOP, BOTTOM = 50, 10, 26, 40  # around the field, for the axes' words
STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5)
MAX_TICKS = 5
MAX_X_TICKS = 4
DIGIT_WIDTH = 7  # of a tick's text


@dataclass(frozen=True, slots=True)
class SharePoint:
    """One check; `share` is locality, or for retention the share of facts that are kept."""

    generation: int
    at: datetime
    passed: bool
    share: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark of an axis: where it is, and what stands there."""

    place: str
    text: str


@dataclass(frozen=True, slots=True)
class SharePlot:
    """All coordinates of one plot.

    Attributes:
        band, line: points of a polygon and of a polyline.
        dots: x, y and the check, of each.
        floor: y of the floor's line and where its words stand; None: no floor.
    """

    band: str
    line: str
    dots: Sequence[tuple[str, str, SharePoint]]
    y_ticks: Sequence[Tick]
    x_ticks: Sequence[Tick]
    floor: tuple[str, str, str] | None
    bottom: float
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    base: int = HEIGHT - BOTTOM


def share_plot(points: Sequence[SharePoint], floor: float | None) -> SharePlot | None:
    """The plot of checks, the oldest first; None of fewer than two."""
    known = [point for point in points if point.share is not None]
    if len(known) < 2:
        return None
    lowest = min(_low(point) for point in known)
    step, bottom = _scale(min(lowest, floor if floor is not None else 1.0))

    def x(index: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * index / (len(known) - 1)

    def y(share: float | None) -> float:
        value = 1.0 if share is None else share
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - value) / (1 - bottom)

    def path(values: Sequence[float | None]) -> list[str]:
        return [f"{x(index):.1f},{y(value):.1f}" for index, value in enumerate(values)]

    band = path([point.high for point in known]) + path([_low(point) for point in known])[::-1]
    return SharePlot(
        band=" ".join(band),
        line=" ".join(path([point.share for point in known])),
        dots=[(f"{x(index):.1f}", f"{y(point.share):.1f}", point) for index, point in enumerate(known)],
        y_ticks=[Tick(f"{y(value):.1f}", f"{value:.4g}") for value in _ticks(step, bottom)],
        x_ticks=_x_ticks(known, x),
        floor=None if floor is None else _floor(y(floor), floor),
        bottom=bottom,
    )


def _low(point: SharePoint) -> float:
    return point.low if point.low is not None else point.share if point.share is not None else 1.0


def _scale(lowest: float) -> tuple[float, float]:
    """The distance of two marks of the share's axis and its lower end, a little below what is shown."""
    need = max(1.0 - lowest, 0.002)
    step = next((one for one in STEPS if need / one <= MAX_TICKS - 1), STEPS[-1])
    count = min(int(need / step) + 1, round(1 / step))
    return step, round(1.0 - count * step, 4)


def _ticks(step: float, bottom: float) -> list[float]:
    count = round((1.0 - bottom) / step)
    return [round(1.0 - step * index, 4) for index in range(count + 1)]


def _x_ticks(known: Sequence[SharePoint], x: Callable[[int], float]) -> list[Tick]:
    """The first and the last check's generation, and some between that have room and differ."""
    count = min(len(known), MAX_X_TICKS)
    indexes = sorted({round(part * (len(known) - 1) / (count - 1)) for part in range(count)})
    found: list[Tick] = []
    free_from = 0.0
    for index in indexes:
        text = str(known[index].generation)
        half = DIGIT_WIDTH * len(text) / 2
        if x(index) - half >= free_from and (not found or found[-1].text != text):
            found.append(Tick(f"{min(x(index), WIDTH - half):.1f}", text))
            free_from = x(index) + half + DIGIT_WIDTH
    return found


def _floor(y: float, floor: float) -> tuple[str, str, str]:
    """Its words stand above the line, or below it where the plot ends."""
    words = y - 4 if y - TOP > 14 else y + 13
    return f"{y:.1f}", f"{words:.1f}", f"floor {floor:.4g}"
