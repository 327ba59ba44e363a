"""A rollback of very many edits: published at once, by reference (`references.py`), and then written down step by step.

    plan_reference -> publish_reference ... write_step, write_step, ... until nothing is left

So the time until the wanted answers are given does not grow with the edits, and others get the head's lock in between.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import BigInteger, Connection, Integer, literal, select, tuple_, type_coerce, update

from daemon.ledger.publication.manifests import (
    Origin,
    append,
    child_of,
    shards_at,
    shards_at_each,
    write_changes,
    written_shards,
)
from daemon.ledger.publication.rollback import (
    MAY_RETURN,
    Change,
    move_edits,
    other_shards,
    put_on_by,
    stand_ins,
    taken_back_where,
)
from daemon.ledger.store.database import lock_head
from daemon.ledger.store.references import Place, Reference, advance, begin, unfinished
from daemon.ledger.store.rows import Standing, rivals_of, standings_by_id
from daemon.ledger.store.schema import edits, generation_changes, generation_origins
from daemon.ledger.store.transitions import ROLLBACKS, tally
from daemon.ledger.values import EditState, Generation, GenerationKind
from edits.ids import EditId

_MOVED_ON = [state.value for state in EditState if state not in {*MAY_RETURN, EditState.LIVE}]


def differs(connection: Connection, number: int, current: int, *, at_once: int) -> bool:
    """Whether the live edits are not those of generation `number`. The first difference is enough: costs all that was
    changed only where all of it was taken back already."""
    place: Place | None = _newest(current)
    while place is not None:
        ids, place = _next_changes(connection, place, down_to=number, at_once=at_once)
        then, now = shards_at_each(connection, [number, current], ids)
        if then != now:
            return True
    return False


def plan_reference(connection: Connection, number: int, current: int, cause: str) -> Reference:
    """The generation after `current` that answers as `number` did. Costs what is excepted, not what was changed.

    What was taken back by hand since stays off, and what somebody put in its place stays on; so does what is neither live
    nor may return (quarantined, or waiting to be trained again) stay off.
    """
    changed = generation_changes.c
    by_hand = taken_back_where(connection, changed.generation > number, changed.generation <= current)
    moved_on = select(edits.c.id).where(edits.c.state.in_(_MOVED_ON), edits.c.shard.is_not(None))
    kept = shards_at(connection, number, {*by_hand, *connection.execute(moved_on).scalars()})
    put_back = {edit_id: by_hand[edit_id] for edit_id in kept if edit_id in by_hand}
    stay = _stay(connection, number, current, put_back)
    return Reference(current + 1, number, cause, _newest(current), dict.fromkeys(kept) | stay)


def publish_reference(
    connection: Connection, reference: Reference, *, actor: str | None, at: datetime
) -> Generation:
    """Publish the generation that answers by reference; the caller holds the head's lock."""
    current = reference.generation - 1
    generation = child_of(connection, current, enabled={}, disabled=[], cause=reference.cause, at=at)
    append(connection, generation, Origin(GenerationKind.ROLLBACK, actor=actor), expected_head=current)
    begin(connection, reference)
    tally(connection, ROLLBACKS, 1)
    return generation


def write_step(connection: Connection, *, at_once: int, at: datetime) -> bool:
    """Look at the next `at_once` changes of the head's rollback, and write down what becomes of their edits.

    All that goes off does so before anything comes back: no edit meets the one that took its place.

    Returns:
        Whether there was anything left to look at.
    """
    lock_head(connection)
    reference = unfinished(connection)
    if reference is None:
        return False
    ids, place = _next_changes(connection, reference.place, down_to=reference.answers_as, at_once=at_once)
    change = _plan_step(connection, reference, ids)
    number, enabled, disabled = reference.generation, change.enabled, [edit.id for edit in change.off]
    move_edits(connection, change, number, reference.cause, at)
    write_changes(connection, number, enabled, disabled)
    origin = generation_origins.c
    counted = {
        "switched_on": origin.switched_on + len(enabled),
        "switched_off": origin.switched_off + len(disabled),
    }
    connection.execute(update(generation_origins).where(origin.generation == number).values(counted))
    if place is None and not reference.place.is_switching_on:
        place = replace(_newest(number - 1), is_switching_on=True)
    advance(connection, reference, place)
    return True


def _plan_step(connection: Connection, reference: Reference, ids: Collection[EditId]) -> Change:
    # As it is written: what an earlier step switched off or on is so already.
    numbers = [reference.answers_as, reference.generation]
    then, now = written_shards(connection, numbers, set(ids) - reference.exceptions.keys())
    if not reference.place.is_switching_on:
        return Change(off=list(standings_by_id(connection, now.keys() - then.keys()).values()))
    on = list(standings_by_id(connection, then.keys() - now.keys()).values())
    return Change(on=on, shards=other_shards(then, now, on))


def _newest(current: int) -> Place:
    return Place(is_switching_on=False, generation=current + 1, edit=0)


def _next_changes(
    connection: Connection, place: Place, *, down_to: int, at_once: int
) -> tuple[Sequence[EditId], Place | None]:
    """The edits of the next changes behind a place, the newest first, and the place of the last; None: those were all."""
    changed, most = generation_changes.c, max(1, at_once)
    # The pair as a whole, so that both databases go on in their index where the last step ended.
    behind = tuple_(changed.generation, type_coerce(changed.edit_id, Integer)) < tuple_(
        literal(place.generation, BigInteger), literal(place.edit, BigInteger)
    )
    query = (
        select(changed.generation, changed.edit_id)
        .where(changed.generation > down_to, behind)
        .order_by(changed.generation.desc(), changed.edit_id.desc())
        .limit(most)
    )
    rows = connection.execute(query).all()
    ids = [row.edit_id for row in rows]
    if len(rows) < most:
        return ids, None
    return ids, replace(place, generation=rows[-1].generation, edit=int(rows[-1].edit_id))


def _stay(
    connection: Connection, number: int, current: int, by_hand: dict[EditId, int]
) -> dict[EditId, str | None]:
    """What somebody put in the place of edits that they took back, with its shards."""
    if not by_hand:
        return {}
    kept = list(standings_by_id(connection, by_hand).values())
    put_on = put_on_by(connection, set(by_hand.values()))
    then, now = shards_at_each(connection, [number, current], put_on)
    candidates = list(standings_by_id(connection, now.keys() - then.keys()).values())
    on = [edit for edit in _come_back(connection, number, current, candidates) if edit.id not in by_hand]
    return {edit_id: now[edit_id] for edit_id in stand_ins(kept, candidates, on)}


def _come_back(
    connection: Connection, number: int, current: int, candidates: list[Standing]
) -> list[Standing]:
    """Rivals of the candidates that were live in generation `number`, are not now, and may return."""
    rivals = rivals_of(connection, candidates)
    then, now = shards_at_each(connection, [number, current], [edit.id for edit in rivals])
    return [edit for edit in rivals if edit.id in then and edit.id not in now and edit.state in MAY_RETURN]
