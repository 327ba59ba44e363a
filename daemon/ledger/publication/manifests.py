"""The generations' rows: load them, fold them into a live set, append one and swap the head to it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, and_, func, insert, literal, select, update

from daemon.ledger.errors import HeadMoved
from daemon.ledger.store.references import Reference, unfinished
from daemon.ledger.store.rows import chunks, clip
from daemon.ledger.store.schema import edits, generation_changes, generation_origins, generations, head
from daemon.ledger.store.schema.columns import CAUSE_CHARS, WORKER_CHARS
from daemon.ledger.values import Generation, GenerationKind
from edits.ids import EditId
from edits.recency import by_arrival


@dataclass(frozen=True, slots=True)
class Origin:
    """What publishes a generation: a batch, or a person or a check that takes something back."""

    kind: GenerationKind
    batch_id: int | None = None
    actor: str | None = None


def load_generations(connection: Connection, condition: ColumnElement[bool]) -> list[Generation]:
    """The generations that meet a condition on `generations`, in order, with what they changed."""
    rows = connection.execute(select(generations).where(condition).order_by(generations.c.number)).all()
    enabled: dict[int, dict[EditId, str]] = {row.number: {} for row in rows}
    disabled: dict[int, list[EditId]] = {row.number: [] for row in rows}
    changes = (
        select(generation_changes)
        .join(generations, generations.c.number == generation_changes.c.generation)
        .where(condition)
        .order_by(generation_changes.c.generation, generation_changes.c.edit_id)
    )
    for change in connection.execute(changes):
        if change.shard is None:
            disabled[change.generation].append(change.edit_id)
        else:
            enabled[change.generation][change.edit_id] = change.shard
    return [
        Generation(
            number=row.number,
            parent=row.parent,
            base_hash=row.base_hash,
            shards=tuple(row.shards),
            enabled=enabled[row.number],
            disabled=tuple(disabled[row.number]),
            cause=row.cause,
            created_at=row.created_at,
            scores=row.scores,
        )
        for row in rows
    ]


def live_set(connection: Connection, number: int) -> dict[EditId, str]:
    """Edit id -> shard of the edits live at generation `number`, folded from the changes up to it."""
    reference = _reference_of(connection, number)
    upto = number if reference is None else reference.answers_as
    last = (
        select(generation_changes.c.edit_id, func.max(generation_changes.c.generation).label("generation"))
        .where(generation_changes.c.generation <= upto)
        .group_by(generation_changes.c.edit_id)
        .subquery()
    )
    rows = connection.execute(
        select(generation_changes.c.edit_id, generation_changes.c.shard)
        .join(
            last,
            and_(
                generation_changes.c.edit_id == last.c.edit_id,
                generation_changes.c.generation == last.c.generation,
            ),
        )
        .where(generation_changes.c.shard.is_not(None))
        .order_by(generation_changes.c.edit_id)
    )
    live = {row.edit_id: row.shard for row in rows}
    return live if reference is None else reference.amend(live)


def shards_at(connection: Connection, number: int, ids: Collection[EditId]) -> dict[EditId, str]:
    """Edit id -> shard of those of the given edits that were live at generation `number`."""
    return shards_at_each(connection, [number], ids)[0]


def shards_at_each(
    connection: Connection, numbers: Sequence[int], ids: Collection[EditId]
) -> list[dict[EditId, str]]:
    """`shards_at` of several generations, the changes read once."""
    asked, reference = set(ids), unfinished(connection)
    if reference is None or reference.generation not in numbers:
        return written_shards(connection, numbers, asked)
    written = [reference.answers_as if n == reference.generation else n for n in numbers]
    found = written_shards(connection, written, asked)
    exceptions = reference.only(asked)
    for number, live in zip(numbers, found, strict=True):
        if number == reference.generation:
            exceptions.amend(live)
    return found


def written_shards(
    connection: Connection, numbers: Sequence[int], ids: Collection[EditId]
) -> list[dict[EditId, str]]:
    """`shards_at_each` by the changes that are written down, whatever answers by reference."""
    changed = generation_changes.c
    found: list[dict[EditId, str]] = [{} for _ in numbers]
    for part in chunks(by_arrival(set(ids))):
        query = (
            select(changed.generation, changed.edit_id, changed.shard)
            .where(changed.edit_id.in_(part), changed.generation <= max(numbers))
            .order_by(changed.generation)
        )
        rows = connection.execute(query).all()
        for number, live in zip(numbers, found, strict=True):
            newest = {edit_id: shard for generation, edit_id, shard in rows if generation <= number}
            live.update((edit_id, shard) for edit_id, shard in newest.items() if shard is not None)
    return found


def changes_between(connection: Connection, before: int, after: int) -> tuple[dict[EditId, str], set[EditId]]:
    """What turns the live set of generation `before` into that of `after`: edit id -> shard switched on, and off."""
    reference = _reference_of(connection, max(before, after))
    if before == after or reference is None:
        return _written_between(connection, before, after)
    earlier = min(before, after)
    if after == reference.generation:
        enabled, disabled = _written_between(connection, earlier, reference.answers_as)
        excepted = {edit_id for edit_id, shard in reference.exceptions.items() if shard is None}
        return reference.amend(enabled), (disabled | excepted) - enabled.keys()
    enabled, disabled = _written_between(connection, reference.answers_as, earlier)
    back = shards_at(connection, earlier, reference.exceptions.keys())
    return enabled | back, disabled | (reference.exceptions.keys() - back.keys())


def _written_between(
    connection: Connection, before: int, after: int
) -> tuple[dict[EditId, str], set[EditId]]:
    between = generation_changes.c.generation.between(min(before, after) + 1, max(before, after))
    if before <= after:
        changes = select(generation_changes).where(between).order_by(generation_changes.c.generation)
        last = {row.edit_id: row.shard for row in connection.execute(changes)}
        enabled = {edit_id: shard for edit_id, shard in last.items() if shard is not None}
        return enabled, last.keys() - enabled.keys()
    touched = set(connection.execute(select(generation_changes.c.edit_id).where(between)).scalars())
    enabled = written_shards(connection, [after], touched)[0]
    return enabled, touched - enabled.keys()


def _reference_of(connection: Connection, number: int) -> Reference | None:
    reference = unfinished(connection)
    return reference if reference is not None and reference.generation == number else None


def append(
    connection: Connection, generation: Generation, origin: Origin, *, expected_head: int | None
) -> None:
    """Write a generation and swap the head to it, if the head is still `expected_head`.

    Raises:
        HeadMoved: it is not; the transaction must not be kept.
    """
    connection.execute(
        insert(generations).values(
            number=generation.number,
            parent=generation.parent,
            base_hash=generation.base_hash,
            shards=list(generation.shards),
            cause=generation.cause,
            scores=dict(generation.scores),
            created_at=generation.created_at,
        )
    )
    connection.execute(
        insert(generation_origins).values(
            generation=generation.number,
            kind=origin.kind.value,
            batch_id=origin.batch_id,
            actor=clip(origin.actor, WORKER_CHARS) if origin.actor is not None else None,
            switched_on=len(generation.enabled),
            switched_off=len(generation.disabled),
        )
    )
    write_changes(connection, generation.number, generation.enabled, generation.disabled)
    swapped = connection.execute(
        update(head)
        .where(head.c.generation.is_not_distinct_from(expected_head))
        .values(generation=generation.number)
    ).rowcount
    if swapped != 1:
        raise HeadMoved(f"the head is no longer generation {expected_head}")


def write_changes(
    connection: Connection, number: int, enabled: Mapping[EditId, str], disabled: Sequence[EditId]
) -> None:
    """What generation `number` switches on and off."""
    if rows := [{"generation": number, "edit_id": one, "shard": shard} for one, shard in enabled.items()]:
        connection.execute(insert(generation_changes), rows)
    for part in chunks(disabled):
        off = select(literal(number, BigInteger), edits.c.id).where(edits.c.id.in_(part))
        connection.execute(insert(generation_changes).from_select(["generation", "edit_id"], off))


def child_of(
    connection: Connection,
    parent: int,
    *,
    shards: Sequence[str] = (),
    enabled: Mapping[EditId, str],
    disabled: Sequence[EditId],
    cause: str,
    at: datetime,
    scores: Mapping[str, Any] | None = None,
) -> Generation:
    """The generation that would follow `parent`, on the same base; nothing is written."""
    base_hash = connection.execute(
        select(generations.c.base_hash).where(generations.c.number == parent)
    ).scalar_one()
    return Generation(
        number=parent + 1,
        parent=parent,
        base_hash=base_hash,
        shards=tuple(shards),
        enabled=enabled,
        disabled=tuple(disabled),
        cause=clip(cause, CAUSE_CHARS),
        created_at=at,
        scores=dict(scores or {}),
    )
