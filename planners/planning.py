"""Turn pending edits into an ordered plan of bounded batches: a pure function of its arguments."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edits.text import counted
from planners.assignment import assign_to_batches, merge_batches
from planners.clustering import DEFAULT_LIMITS, ClusteringLimits, Labels, cluster
from planners.conflicts import resolve
from planners.embedding import Embedder, Vectors, unit
from planners.explain import explain_lane
from planners.ordering import Unordered, order_batches
from planners.projection import project
from planners.settings import PlannerSettings
from planners.values import DraftBatch, Pending, PlanDraft, ProjectionPoint

# Clusters are asked to fill a batch to this share: slack for a cluster to keep its members together.
FILL = 0.8


@dataclass(frozen=True, slots=True)
class _Group:
    """A batch in the making: which of the lane's edits it holds, oldest first."""

    editor: str
    members: Labels
    reason: str


@dataclass(frozen=True, slots=True)
class _Lane:
    """What became of the batch lane."""

    batches: tuple[DraftBatch, ...] = ()
    explanation: Mapping[str, Any] = field(default_factory=dict)
    projection: tuple[ProjectionPoint, ...] = ()


def plan(
    edits: Sequence[Pending],
    *,
    rivals: Iterable[Pending] = (),
    settings: PlannerSettings,
    embedder: Embedder,
    limits: ClusteringLimits = DEFAULT_LIMITS,
) -> PlanDraft:
    """Put every edit into exactly one batch, or name the edit by which it is superseded.

    Conflicts come first (`planners.conflicts`; `rivals` take part in them but are not planned). Then, in this
    order: urgent retractions, urgent edits, other retractions, and the batch lane, which is embedded,
    clustered, split into batches of at most `settings.batch_size` and ordered. The order of `edits` changes
    nothing.

    Raises:
        BadRequest: the embedder is unusable.
    """
    resolution = resolve(edits, rivals)
    urgent = [edit for edit in resolution.winners if edit.urgent]
    patient = [edit for edit in resolution.winners if not edit.urgent]
    size = settings.batch_size
    at_once = (
        *_chunked([edit for edit in urgent if edit.retracts], size, None, "retractions need no training"),
        *_chunked(
            [edit for edit in urgent if not edit.retracts], size, settings.urgent_editor, "urgent: at once"
        ),
        *_chunked([edit for edit in patient if edit.retracts], size, None, "retractions need no training"),
    )
    asserted = [edit for edit in patient if not edit.retracts]
    lane = _batch_lane(asserted, settings, embedder, limits, first=len(at_once))
    explanation = {
        "edits": len(edits),
        "planned": len(resolution.winners),
        "superseded": len(resolution.superseded),
        **lane.explanation,
    }
    losers = tuple(resolution.superseded.items())
    return PlanDraft((*at_once, *lane.batches), losers, explanation, lane.projection)


def _chunked(edits: Sequence[Pending], size: int, editor: str | None, reason: str) -> list[DraftBatch]:
    """Batches of at most `size`, oldest first: for edits whose batch-mates do not matter."""
    return [
        DraftBatch(part[0].urgent, editor, tuple(edit.edit_id for edit in part), reason)
        for part in (edits[start : start + size] for start in range(0, len(edits), size))
    ]


def _batch_lane(
    edits: Sequence[Pending],
    settings: PlannerSettings,
    embedder: Embedder,
    limits: ClusteringLimits,
    *,
    first: int,
) -> _Lane:
    if not edits:
        return _Lane()
    vectors = embedder.embed([edit.prompt or edit.subject for edit in edits])
    size = settings.batch_size
    clusters = cluster(
        vectors,
        clusters=_wanted(len(edits), size),
        method=settings.clustering,
        seed=settings.seed,
        limits=limits,
    )
    assigned = assign_to_batches(vectors, clusters, capacity=size, seed=settings.seed)
    groups = _ordered(_give_to_editors(_members(assigned), vectors, settings), vectors, settings)
    batches = np.empty(len(edits), dtype=np.intp)
    for number, group in enumerate(groups):
        batches[group.members] = number
    explanation = {
        "embedding": embedder.name,
        "clustering": settings.clustering,
        "order": settings.order,
        "seed": settings.seed,
        **explain_lane(edits, vectors, clusters, batches, first=first, seed=settings.seed),
    }
    drafts = (
        DraftBatch(False, group.editor, tuple(edits[int(i)].edit_id for i in group.members), group.reason)
        for group in groups
    )
    return _Lane(tuple(drafts), explanation, project(edits, vectors, batches, first=first))


def _members(labels: Labels) -> list[Labels]:
    """The members of each batch 0..b-1, in ascending order: edits stand oldest first."""
    return np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels))[:-1])


def _give_to_editors(parts: Sequence[Labels], vectors: Vectors, settings: PlannerSettings) -> list[_Group]:
    """Choose an editor per batch; with "auto", small clusters share SCEN batches.

    A SCEN expert answers for one fact and does not see its batch-mates, so that small clusters lose nothing
    by sharing a batch, and each batch less is one publication less.
    """
    min_size = settings.min_lemoe_cluster if settings.batch_editor == "auto" else 1
    editor = "lemoe" if settings.batch_editor == "auto" else settings.batch_editor
    size = settings.batch_size
    dense = [part for part in parts if len(part) >= min_size]
    if dense:
        target = _wanted(sum(map(len, dense)), size)
        dense = merge_batches(vectors, dense, capacity=size, target=target)
    groups = [
        _Group(editor, part, f"{counted(len(part), 'edit', 'that lies', 'that lie')} close together")
        for part in dense
    ]
    loose = [part for part in parts if len(part) < min_size]
    if loose:
        alone = np.sort(np.concatenate(loose))
        reason = f"from clusters of fewer than {min_size} edits: one expert each"
        groups += [_Group("scen", alone[at : at + size], reason) for at in range(0, len(alone), size)]
    return groups


def _wanted(edits: int, size: int) -> int:
    """How many batches of at most `size` there shall be: with some slack, unless all fit into one."""
    return 1 if edits <= size else -(-edits // max(1, int(size * FILL)))


def _ordered(groups: Sequence[_Group], vectors: Vectors, settings: PlannerSettings) -> list[_Group]:
    by_age = sorted(groups, key=lambda group: int(group.members[0]))
    centres = unit(np.stack([vectors[group.members].mean(axis=0) for group in by_age]))
    sizes = np.array([len(group.members) for group in by_age], dtype=np.intp)
    order = order_batches(Unordered(centres, sizes, settings.seed), strategy=settings.order)
    return [by_age[number] for number in order]
