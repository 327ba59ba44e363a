"""Draw a plan as one HTML page with inline SVG: clusters in two dimensions, batches in their order.

The page holds no script and loads nothing, so that texts from events, which anybody may have written, stay texts.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from edits.ids import EditId
from edits.text import counted
from planners.values import DraftBatch, PlanDraft, ProjectionPoint

WIDTH, HEIGHT, MARGIN = 760, 520, 30
ROW_HEIGHT, STRIP_ROWS = 16, 20
NUMBERED = 150  # of more batches only some bear their number: the others tell it when pointed at
TEXT_CHARS = 160
LISTED = 200  # batches in the table
NAMED = 5  # edits whose texts stand in the tooltip of their batch


@dataclass(frozen=True, slots=True)
class ShownChange:
    """What a plan changes for one fact: its answer now and then; None: the base's own."""

    subject: str
    prompt: str | None
    old: str | None
    new: str | None
    batch: int | None = None


@dataclass(frozen=True, slots=True)
class ShownConflict:
    """An edit that is superseded before it is applied: its answer, and that of the newer edit."""

    subject: str
    loses: str | None
    wins: str | None


def render_plot(
    draft: PlanDraft,
    texts: Mapping[EditId, str],
    *,
    changes: Sequence[ShownChange] = (),
    conflicts: Sequence[ShownConflict] = (),
    more: int = 0,
) -> str:
    """The page, well-formed as XML; `texts` says what each edit's tooltip shows, `more` how many changes are not listed.

    First what changes, as a table, and who loses a conflict. Then the batch lane's edits where they lie (a sample of
    many), one colour per batch, a line through the batches in their order. Last every batch of the plan in its order,
    as wide as it is large.
    """
    points: dict[int, list[ProjectionPoint]] = {}
    for point in draft.projection:
        points.setdefault(point.sequence, []).append(point)
    marks = [_mark(sequence, batch) for sequence, batch in enumerate(draft.batches)]
    strip = list(_strip(draft.batches, texts))
    page = Environment(
        loader=PackageLoader("planners"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    page.filters["readable"] = _readable
    page.filters["counted"] = counted
    return page.get_template("plan.html.jinja").render(
        batches=draft.batches,
        listed=[*zip(marks, draft.batches, strict=True)][:LISTED],
        changes=changes,
        more_changes=more,
        conflicts=conflicts,
        summary=_summary(draft),
        map=_map(marks, points, texts) if points else None,
        strip=list(zip(marks, strip, strict=True)),
        strip_height=(strip[-1].top if strip else 0) + ROW_HEIGHT,
        width=WIDTH,
        height=HEIGHT,
    )


@dataclass(frozen=True, slots=True)
class _Mark:
    """What a batch looks like wherever it is drawn."""

    sequence: int
    about: str
    fill: str
    stroke: str


@dataclass(frozen=True, slots=True)
class _Map:
    """The upper drawing; coordinates are text, in the drawing's own units."""

    order: str
    radius: int
    batches: Sequence[tuple[_Mark, Sequence[tuple[str, str, str]]]]  # and of each point x, y and tooltip
    numbers: Sequence[tuple[str, str, int]]


@dataclass(frozen=True, slots=True)
class _Box:
    """A batch in the lower drawing."""

    x: float
    top: int
    width: float
    names: str
    numbered: bool
    height: int = ROW_HEIGHT - 2


def _summary(draft: PlanDraft) -> str:
    explained = draft.explanation
    parts = [f"{counted(explained['planned'], 'edit')} planned, {explained['superseded']} superseded."]
    if "clusters" in explained:
        parts.append(
            f"Batch lane: {counted(explained['clusters'], 'cluster')} "
            f"({explained['clustering']} over {explained['embedding']}), order {explained['order']}; "
            f"mean cosine {_measured(explained['within'])} within batches, "
            f"{_measured(explained['between'])} between them; silhouette (1: well apart, -1: mixed up) "
            f"{_measured(explained['silhouette'])}. Filled: LEMoE; hollow: SCEN; grey: retractions. "
            f"{counted(len(draft.projection), 'edit', 'is', 'are')} shown."
        )
    return " ".join(parts)


def _measured(value: float | None) -> str:
    """What few edits or one batch do not have is said in words."""
    return "not defined" if value is None else f"{value:.2f}"


def _map(
    marks: Sequence[_Mark], points: Mapping[int, list[ProjectionPoint]], texts: Mapping[EditId, str]
) -> _Map:
    canvas = _Canvas([point for part in points.values() for point in part])
    middles = {sequence: _shown(canvas.middle(part)) for sequence, part in sorted(points.items())}
    every = -(-len(middles) // NUMBERED)
    return _Map(
        order=" L ".join(f"{x} {y}" for x, y in middles.values()),
        radius=4 if len(points) <= NUMBERED else 2,
        batches=[
            (
                marks[sequence],
                [
                    (*_shown(canvas.place(point)), f"{sequence}: {_text(point.edit_id, texts)}")
                    for point in points[sequence]
                ],
            )
            for sequence in middles
        ],
        numbers=[(x, y, sequence) for sequence, (x, y) in [*middles.items()][::every]],
    )


def _shown(place: tuple[float, float]) -> tuple[str, str]:
    return f"{place[0]:.1f}", f"{place[1]:.1f}"


def _strip(batches: Sequence[DraftBatch], texts: Mapping[EditId, str]) -> Iterator[_Box]:
    """One box per batch, in rows from left to right."""
    edits = max(1, sum(len(batch.edit_ids) for batch in batches))
    scale = min(20.0, STRIP_ROWS * WIDTH / edits)
    x, row = 0.0, 0
    for sequence, batch in enumerate(batches):
        width = min(float(WIDTH), max(3.0, scale * len(batch.edit_ids)))
        if x + width > WIDTH:
            x, row = 0.0, row + 1
        numbered = width > 8 * len(str(sequence))
        yield _Box(x, row * ROW_HEIGHT, width, _names(batch, texts), numbered)
        x += width


def _names(batch: DraftBatch, texts: Mapping[EditId, str]) -> str:
    named = [_text(edit_id, texts) for edit_id in batch.edit_ids[:NAMED]]
    more = len(batch.edit_ids) - len(named)
    return "; ".join(named) + (f"; and {more} more" if more else "")


def _text(edit_id: EditId, texts: Mapping[EditId, str]) -> str:
    return texts.get(edit_id, f"edit {edit_id}")[:TEXT_CHARS]


class _Canvas:
    """Where points go on the canvas; both axes share one scale, so that distances can be compared."""

    def __init__(self, points: Sequence[ProjectionPoint]) -> None:
        xs, ys = [point.x for point in points], [point.y for point in points]
        self._middle = (max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2
        wide, high = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN
        self._scale = min(wide / max(max(xs) - min(xs), 1e-9), high / max(max(ys) - min(ys), 1e-9))

    def place(self, point: ProjectionPoint) -> tuple[float, float]:
        return (
            WIDTH / 2 + (point.x - self._middle[0]) * self._scale,
            HEIGHT / 2 + (point.y - self._middle[1]) * self._scale,
        )

    def middle(self, points: Sequence[ProjectionPoint]) -> tuple[float, float]:
        places = [self.place(point) for point in points]
        return sum(x for x, _ in places) / len(places), sum(y for _, y in places) / len(places)


def _mark(sequence: int, batch: DraftBatch) -> _Mark:
    """Filled for LEMoE, hollow for SCEN, grey where nothing is trained; neighbours in the order differ in hue."""
    lane, editor = "urgent" if batch.urgent else "batch", batch.editor or "no editor"
    about = (
        f"batch {sequence} ({lane} lane, {editor}, {counted(len(batch.edit_ids), 'edit')}): {batch.reason}"
    )
    if batch.editor is None:
        return _Mark(sequence, about, fill="#bbb", stroke="#888")
    colour = f"hsl({sequence * 137.508 % 360:.0f},65%,45%)"  # the golden angle
    return _Mark(sequence, about, fill="#fff" if batch.editor == "scen" else colour, stroke=colour)


def _readable(text: str) -> str:
    """What XML cannot hold or nobody can read is shown as a sign of its own; the page escapes the rest."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
