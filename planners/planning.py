"""Turn pending edits into an ordered plan of bounded batches: a pure function of its arguments."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from editors.errors import BadRequest
from planners.clustering import Labels, cluster
from planners.conflicts import resolve
from planners.embedding import Embedder, Vectors, unit
from planners.explain import batch_notes, similarities
from planners.ordering import Unordered, order_batches
from planners.seating import seat
from planners.values import DraftBatch, Pending, PlanDraft, PlannerSettings

# Clusters are asked to fill a batch to this share: room for a cluster to keep its members together.
FILL = 0.8
BATCH_EDITORS = ("auto", "lemoe", "scen")


@dataclass(frozen=True, slots=True)
class _Group:
    """A batch in the making: its edits (oldest first) and their vectors."""

    editor: str
    edits: tuple[Pending, ...]
    vectors: Vectors
    reason: str


def plan(
    edits: Sequence[Pending],
    *,
    rivals: Iterable[Pending] = (),
    settings: PlannerSettings,
    embedder: Embedder,
) -> PlanDraft:
    """Put every edit into exactly one batch, or name the edit by which it is superseded.

    Conflicts come first (`planners.conflicts`; `rivals` take part in them but are not planned). Then, in this
    order: urgent retractions, urgent edits, other retractions, and the batch lane, which is embedded,
    clustered, cut into batches of at most `settings.batch_size` and ordered. The order of `edits` changes
    nothing.

    Raises:
        BadRequest: a strategy's name is unknown, or the embedder is unusable.
    """
    if settings.batch_size < 1:
        raise BadRequest(f"a batch holds at least one edit, not {settings.batch_size}")
    if settings.batch_editor not in BATCH_EDITORS:
        known = ", ".join(BATCH_EDITORS)
        raise BadRequest(f"no batch editor is called {settings.batch_editor!r}; known: {known}")
    resolution = resolve(edits, rivals)
    urgent = [edit for edit in resolution.winners if edit.urgent]
    patient = [edit for edit in resolution.winners if not edit.urgent]
    size = settings.batch_size
    at_once = (
        *_cut([edit for edit in urgent if edit.retracts], size, None, "retractions need no training"),
        *_cut(
            [edit for edit in urgent if not edit.retracts], size, settings.urgent_editor, "urgent: at once"
        ),
        *_cut([edit for edit in patient if edit.retracts], size, None, "retractions need no training"),
    )
    asserted = [edit for edit in patient if not edit.retracts]
    clustered, explanation = _batch_lane(asserted, settings, embedder, first=len(at_once))
    explanation = {
        "edits": len(edits),
        "planned": len(resolution.winners),
        "superseded": len(resolution.superseded),
        **explanation,
    }
    return PlanDraft((*at_once, *clustered), tuple(sorted(resolution.superseded.items())), explanation)


def _cut(edits: Sequence[Pending], size: int, editor: str | None, reason: str) -> list[DraftBatch]:
    """Batches of at most `size`, oldest first: for edits whose batch-mates do not matter."""
    return [
        DraftBatch(part[0].urgent, editor, tuple(edit.edit_id for edit in part), reason)
        for part in (edits[start : start + size] for start in range(0, len(edits), size))
    ]


def _batch_lane(
    edits: Sequence[Pending], settings: PlannerSettings, embedder: Embedder, *, first: int
) -> tuple[list[DraftBatch], dict[str, Any]]:
    if not edits:
        return [], {}
    vectors = embedder.embed([edit.prompt or edit.subject for edit in edits])
    wanted = (
        1 if len(edits) <= settings.batch_size else -(-len(edits) // max(1, int(settings.batch_size * FILL)))
    )
    labels = cluster(vectors, clusters=wanted, method=settings.clustering, seed=settings.seed)
    labels = seat(vectors, labels, capacity=settings.batch_size)
    groups = _give_to_editors(_groups(edits, vectors, labels), settings)
    groups = _ordered(groups, settings)
    explanation = {
        "embedding": embedder.name,
        "clustering": settings.clustering,
        "order": settings.order,
        "seed": settings.seed,
        "clusters": int(labels.max()) + 1,
        **similarities(vectors, labels),
        "batches": batch_notes(
            [group.edits for group in groups], [group.vectors for group in groups], first=first
        ),
    }
    drafts = [
        DraftBatch(False, group.editor, tuple(edit.edit_id for edit in group.edits), group.reason)
        for group in groups
    ]
    return drafts, explanation


def _groups(
    edits: Sequence[Pending], vectors: Vectors, labels: Labels
) -> list[tuple[list[Pending], Vectors]]:
    """The members of each batch, oldest first, and their vectors."""
    members = [np.flatnonzero(labels == number) for number in range(int(labels.max()) + 1)]
    return [([edits[int(index)] for index in part], vectors[part]) for part in members]


def _give_to_editors(
    groups: Sequence[tuple[list[Pending], Vectors]], settings: PlannerSettings
) -> list[_Group]:
    """Choose an editor per batch; with "auto", small clusters share SCEN batches.

    A SCEN expert answers for one fact and does not see its batch-mates, so that small clusters lose nothing
    by sharing a batch, and each batch less is one publication less.
    """
    if settings.batch_editor != "auto":
        reason = "cluster of edits that lie close together"
        return [_Group(settings.batch_editor, tuple(edits), part, reason) for edits, part in groups]
    least = settings.min_lemoe_cluster
    dense = [
        _Group("lemoe", tuple(edits), part, f"cluster of {len(edits)} edits: enough for one expert")
        for edits, part in groups
        if len(edits) >= least
    ]
    loose = [
        (edit, vector)
        for edits, part in groups
        if len(edits) < least
        for edit, vector in zip(edits, part, strict=True)
    ]
    loose.sort(key=lambda pair: pair[0].recency)
    shared = [
        loose[start : start + settings.batch_size] for start in range(0, len(loose), settings.batch_size)
    ]
    reason = f"from clusters of fewer than {least} edits: one expert each"
    return dense + [
        _Group("scen", tuple(edit for edit, _ in part), np.stack([vector for _, vector in part]), reason)
        for part in shared
    ]


def _ordered(groups: Sequence[_Group], settings: PlannerSettings) -> list[_Group]:
    by_age = sorted(groups, key=lambda group: group.edits[0].recency)
    centres = unit(np.stack([group.vectors.mean(axis=0) for group in by_age]))
    sizes = np.array([len(group.edits) for group in by_age], dtype=np.intp)
    order = order_batches(Unordered(centres, sizes, settings.seed), strategy=settings.order)
    return [by_age[number] for number in order]
