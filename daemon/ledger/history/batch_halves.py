"""What came out of batches that were split.

A half has its batch's plan and its place in that plan, and was made at the moment at which the batch was split.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, select

from daemon.ledger.store.schema import batches, edits
from daemon.ledger.values import EditState

_LINK = (batches.c.id, batches.c.plan_id, batches.c.sequence, batches.c.created_at)


def halves_of(connection: Connection, split: Sequence[Row[Any]]) -> dict[int, list[int]]:
    """The batches that came out of each of these, by its number; rows of `batches`, all of them split."""
    if not split:
        return {}
    query = select(*_LINK).where(
        batches.c.id > min(row.id for row in split),
        batches.c.plan_id.in_({row.plan_id for row in split}),
        batches.c.created_at.in_({row.finished_at for row in split}),
    )
    made: defaultdict[tuple[Any, ...], list[int]] = defaultdict(list)
    for row in connection.execute(query.order_by(batches.c.id)):
        made[row.plan_id, row.sequence, row.created_at].append(int(row.id))
    return {
        int(row.id): [one for one in made[row.plan_id, row.sequence, row.finished_at] if one > row.id]
        for row in split
    }


def with_halves(connection: Connection, batch_id: int) -> list[int]:
    """A batch and all that came out of it, halves of halves too; itself alone where it was not split, or is none."""
    found, split = {batch_id}, _split_among(connection, [batch_id])
    while split:
        halves = {one for few in halves_of(connection, split).values() for one in few} - found
        found |= halves
        split = _split_among(connection, sorted(halves))
    return sorted(found)


def states_of_edits(connection: Connection, numbers: Sequence[int]) -> Mapping[int, Mapping[EditState, int]]:
    """How many edits of each batch stand in which state now."""
    query = (
        select(edits.c.batch_id, edits.c.state, func.count())
        .where(edits.c.batch_id.in_(numbers))
        .group_by(edits.c.batch_id, edits.c.state)
        .order_by(edits.c.batch_id, edits.c.state)
    )
    found: defaultdict[int, dict[EditState, int]] = defaultdict(dict)
    for batch_id, state, many in connection.execute(query):
        found[batch_id][EditState(state)] = int(many)
    return found


def _split_among(connection: Connection, numbers: Sequence[int]) -> Sequence[Row[Any]]:
    query = select(batches).where(batches.c.id.in_(numbers), batches.c.state == "split")
    return connection.execute(query).all()
