"""A rollback of very many edits: published at once, by reference (`references.py`), and then written down step by step.

    plan_reference -> publish_reference ... write_step, write_step, ... until nothing is left

So the time until the wanted answers are given does not grow with the edits, and others get the head's lock in between.
"""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection, func, select, update

from daemon.ledger.publication.manifests import (
    Origin,
    append,
    child_of,
    shards_at,
    shards_at_each,
    write_changes,
    written_shards,
)
from daemon.ledger.publication.references import Reference, advance, begin, unfinished
from daemon.ledger.publication.rollback import (
    Change,
    move_edits,
    other_shards,
    require_published,
    stand_ins,
    taken_back_where,
    touched_between,
)
from daemon.ledger.store.database import lock_head
from daemon.ledger.store.rows import Standing, chunks, rivals_of, standings_by_id
from daemon.ledger.store.schema import generation_changes, generation_origins, generations
from daemon.ledger.store.transitions import ROLLBACKS, tally
from daemon.ledger.values import Generation, GenerationKind
from edits.ids import EditId


def size_of(connection: Connection, number: int, current: int) -> int:
    """How many changes were made since generation `number`.

    Raises:
        NotInLedger: that generation was never published.
    """
    require_published(number, current)
    origin = generation_origins.c
    made = func.coalesce(func.sum(origin.switched_on + origin.switched_off), 0)
    query = select(made).where(origin.generation > number, origin.generation <= current)
    return int(connection.execute(query).scalar_one())


def differs(connection: Connection, number: int, current: int, *, at_once: int) -> bool:
    """Whether the live edits are not those of generation `number`: the first difference is enough."""
    below = current
    while below > number:
        stop = _next_stop(connection, number, below=below, at_once=at_once)
        then, now = shards_at_each(connection, [number, current], touched_between(connection, stop, below))
        if then != now:
            return True
        below = stop
    return False


def plan_reference(connection: Connection, number: int, current: int) -> Reference:
    """The generation after `current` that answers as `number` did. Costs what people took back since, not what changed.

    What was taken back by hand stays off, and what somebody put in its place stays on: its exceptions.
    """
    changed = generation_changes.c
    by_hand = taken_back_where(connection, changed.generation > number, changed.generation <= current)
    kept = shards_at(connection, number, by_hand)
    stay = _stay(connection, number, current, {edit_id: by_hand[edit_id] for edit_id in kept})
    return Reference(current + 1, number, current, dict.fromkeys(kept) | stay)


def publish_reference(
    connection: Connection, reference: Reference, *, actor: str | None, cause: str, at: datetime
) -> Generation:
    """Publish the generation that answers by reference; the caller holds the head's lock."""
    generation = child_of(connection, reference.reached, enabled={}, disabled=[], cause=cause, at=at)
    append(
        connection, generation, Origin(GenerationKind.ROLLBACK, actor=actor), expected_head=reference.reached
    )
    begin(connection, reference)
    tally(connection, ROLLBACKS, 1)
    return generation


def write_step(connection: Connection, *, at_once: int, at: datetime) -> bool:
    """Write down about `at_once` changes of the head's rollback, the newest generations first; False where none are left.

    Each step takes whole generations. What one of them displaced went off in it or before, so that an edit never comes back
    before what took its place has gone.
    """
    lock_head(connection)
    reference = unfinished(connection)
    if reference is None:
        return False
    number = reference.generation
    stop = _next_stop(connection, reference.answers_as, below=reference.reached, at_once=at_once)
    change = _plan_step(connection, reference, stop)
    cause = connection.execute(select(generations.c.cause).where(generations.c.number == number)).scalar_one()
    enabled, disabled = change.enabled, [edit.id for edit in change.off]
    move_edits(connection, change, number, cause, at)
    write_changes(connection, number, enabled, disabled)
    origin = generation_origins.c
    connection.execute(
        update(generation_origins)
        .where(origin.generation == number)
        .values(
            switched_on=origin.switched_on + len(enabled), switched_off=origin.switched_off + len(disabled)
        )
    )
    advance(connection, reference, stop)
    return True


def _plan_step(connection: Connection, reference: Reference, stop: int) -> Change:
    touched = set(touched_between(connection, stop, reference.reached)) - reference.exceptions.keys()
    # What an earlier step wrote stands as it stood then, and is left alone.
    numbers = [reference.answers_as, reference.generation]
    then, now = written_shards(connection, numbers, touched)
    found = standings_by_id(connection, then.keys() ^ now.keys())
    on = [edit for edit in found.values() if edit.id in then]
    off = [edit for edit in found.values() if edit.id not in then]
    return Change(off=off, on=on, shards=other_shards(then, now, on))


def _next_stop(connection: Connection, number: int, *, below: int, at_once: int) -> int:
    """The generation down to which the next step goes, from `below` on the way to `number`: some `at_once` changes."""
    origin = generation_origins.c
    query = (
        select(origin.generation, origin.switched_on + origin.switched_off)
        .where(origin.generation > number, origin.generation <= below)
        .order_by(origin.generation.desc())
    )
    size = 0
    for generation, changed in connection.execute(query):
        if size and size + changed > at_once:
            return int(generation)
        size += changed
    return number


def _stay(
    connection: Connection, number: int, current: int, by_hand: dict[EditId, int]
) -> dict[EditId, str | None]:
    """What somebody put in the place of edits that they took back, with its shards."""
    if not by_hand:
        return {}
    kept = list(standings_by_id(connection, by_hand).values())
    then, now = shards_at_each(connection, [number, current], _put_on_by(connection, set(by_hand.values())))
    candidates = list(standings_by_id(connection, now.keys() - then.keys()).values())
    on = [edit for edit in _come_back(connection, number, current, candidates) if edit.id not in by_hand]
    found = stand_ins(connection, kept, candidates, on, set(by_hand.values()))
    return {edit_id: now[edit_id] for edit_id in found}


def _put_on_by(connection: Connection, numbers: Collection[int]) -> set[EditId]:
    changed = generation_changes.c
    found: set[EditId] = set()
    for part in chunks(sorted(numbers)):
        query = select(changed.edit_id).where(changed.generation.in_(part), changed.shard.is_not(None))
        found.update(connection.execute(query).scalars())
    return found


def _come_back(
    connection: Connection, number: int, current: int, candidates: list[Standing]
) -> list[Standing]:
    """Rivals of the candidates that were live in generation `number` and are not now."""
    rivals = rivals_of(connection, candidates)
    then, now = shards_at_each(connection, [number, current], [edit.id for edit in rivals])
    return [edit for edit in rivals if edit.id in then and edit.id not in now]
