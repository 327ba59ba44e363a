"""Draw a plan as one HTML page with inline SVG: clusters in two dimensions, batches in their order.

The page holds no script and loads nothing, so that texts from events, which anybody may have written, stay texts.
"""

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from planners.values import DraftBatch, PlanDraft, ProjectionPoint

WIDTH, HEIGHT, MARGIN = 1100, 640, 30
ROW_HEIGHT, STRIP_ROWS = 16, 20
NUMBERED = 150  # of more batches only some bear their number: the others tell it when pointed at
TEXT_CHARS = 160
NAMED = 5  # edits whose texts stand in the tooltip of their batch

_HEAD = """<!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml" lang="en">
<head>
<meta charset="utf-8"/>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'"/>
<title>Upkeep: a plan</title>
<style>
body { font: 14px sans-serif; margin: 1.5em; color: #222; background: #fff; }
svg { border: 1px solid #ccc; max-width: 100%; height: auto; }
text { font: 11px sans-serif; pointer-events: none; }
g.batch:hover circle, g.batch:hover rect { stroke: #000; stroke-width: 2; }
path.order { fill: none; stroke: #888; stroke-width: 0.7; opacity: 0.6; }
</style>
</head>
<body>
"""


def render_plot(draft: PlanDraft, texts: Mapping[int, str]) -> str:
    """The page, well-formed as XML; `texts` says what each edit's tooltip shows.

    Above: the batch lane's edits where they lie (a sample of many), one colour per batch, a line through the
    batches in their order. Below: every batch of the plan in its order, as wide as it is large.
    """
    points: dict[int, list[ProjectionPoint]] = {}
    for point in draft.projection:
        points.setdefault(point.sequence, []).append(point)
    return "".join(
        [
            _HEAD,
            f"<h1>A plan of {len(draft.batches)} batches</h1>\n<p>{escape(_summary(draft))}</p>\n",
            *_map(draft.batches, points, texts),
            "<h2>The batches in their order</h2>\n",
            *_strip(draft.batches, texts),
            "</body>\n</html>\n",
        ]
    )


def _summary(draft: PlanDraft) -> str:
    told = draft.explanation
    parts = [f"{told['planned']} edits planned, {told['superseded']} superseded."]
    if "clusters" in told:
        parts.append(
            f"Batch lane: {told['clusters']} clusters ({told['clustering']} over {told['embedding']}), order "
            f"{told['order']}, mean cosine {told['within']} within and {told['between']} between batches, "
            f"silhouette {told['silhouette']}. Filled: LEMoE; hollow: SCEN; grey: retractions. "
            f"{len(draft.projection)} edits are shown."
        )
    return " ".join(parts)


def _map(
    batches: Sequence[DraftBatch], points: Mapping[int, list[ProjectionPoint]], texts: Mapping[int, str]
) -> Iterator[str]:
    if not points:
        return
    canvas = _Canvas([point for part in points.values() for point in part])
    radius = 4 if len(points) <= NUMBERED else 2
    middles = {sequence: canvas.middle(part) for sequence, part in sorted(points.items())}
    yield f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">\n'
    steps = " L ".join(f"{x:.1f} {y:.1f}" for x, y in middles.values())
    yield f'<path class="order" d="M {steps}"/>\n'
    for sequence in middles:
        batch = batches[sequence]
        yield f'<g class="batch" data-batch="{sequence}">{_title(_about(sequence, batch))}'
        for point in points[sequence]:
            x, y = canvas.place(point)
            yield (
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" {_paint(sequence, batch)}>'
                f"{_title(f'{sequence}: {_text(point.edit_id, texts)}')}</circle>"
            )
        yield "</g>\n"
    every = -(-len(middles) // NUMBERED)
    for number, (sequence, (x, y)) in enumerate(middles.items()):
        if number % every == 0:
            yield f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{sequence}</text>\n'
    yield "</svg>\n"


def _strip(batches: Sequence[DraftBatch], texts: Mapping[int, str]) -> Iterator[str]:
    """One box per batch, in rows from left to right."""
    edits = max(1, sum(len(batch.edit_ids) for batch in batches))
    scale = min(20.0, STRIP_ROWS * WIDTH / edits)
    boxes, x, row = [], 0.0, 0
    for sequence, batch in enumerate(batches):
        width = min(float(WIDTH), max(3.0, scale * len(batch.edit_ids)))
        if x + width > WIDTH:
            x, row = 0.0, row + 1
        top = row * ROW_HEIGHT
        box = (
            f'<rect x="{x:.1f}" y="{top}" width="{width - 1:.1f}" height="{ROW_HEIGHT - 2}" '
            f"{_paint(sequence, batch)}/>"
        )
        if width > 8 * len(str(sequence)):
            box += f'<text x="{x + 2:.1f}" y="{top + 11}">{sequence}</text>'
        told = _title(f"{_about(sequence, batch)}: {_names(batch, texts)}")
        boxes.append(f'<g class="batch" data-sequence="{sequence}">{told}{box}</g>\n')
        x += width
    height = (row + 1) * ROW_HEIGHT
    yield f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">\n'
    yield from boxes
    yield "</svg>\n"


def _names(batch: DraftBatch, texts: Mapping[int, str]) -> str:
    named = [_text(edit_id, texts) for edit_id in batch.edit_ids[:NAMED]]
    more = len(batch.edit_ids) - len(named)
    return "; ".join(named) + (f"; and {more} more" if more else "")


def _text(edit_id: int, texts: Mapping[int, str]) -> str:
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


def _about(sequence: int, batch: DraftBatch) -> str:
    lane, editor = "urgent" if batch.urgent else "batch", batch.editor or "no editor"
    return f"batch {sequence} ({lane} lane, {editor}, {len(batch.edit_ids)} edits): {batch.reason}"


def _paint(sequence: int, batch: DraftBatch) -> str:
    """Filled for LEMoE, hollow for SCEN, grey where nothing is trained; neighbours in the order differ in hue."""
    if batch.editor is None:
        return 'fill="#bbb" stroke="#888"'
    colour = f"hsl({sequence * 137.508 % 360:.0f},65%,45%)"  # the golden angle
    fill = "#fff" if batch.editor == "scen" else colour
    return f'fill="{fill}" stroke="{colour}"'


def _title(text: str) -> str:
    """A tooltip: what XML cannot hold or nobody can read is shown as a sign of its own."""
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return f"<title>{escape(shown)}</title>"
