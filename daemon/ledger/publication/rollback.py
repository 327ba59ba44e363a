"""Take changes back: one edit, one generation, or everything since a generation; always by publishing a new generation.

What would change is computed first (`plan_...`), by what is seen before and by what is done alike, and then carried out.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, exists, select

from daemon.ledger.errors import ForbiddenMove, NotInLedger
from daemon.ledger.publication.conflicts import settle
from daemon.ledger.publication.manifests import Origin, append, child_of, shards_at_each
from daemon.ledger.store.rows import DECIDES, Standing, chunks, rivals_of, standings_by_id, superseded_by
from daemon.ledger.store.schema import edits, generation_changes, generation_origins
from daemon.ledger.store.transitions import ROLLBACKS, Move, apply_moves, supersede, tally
from daemon.ledger.values import EditState, Generation, GenerationKind
from edits.ids import EditId
from edits.recency import by_arrival, newest_first, rival_keys

BY_HAND = (GenerationKind.UNDO_FACT, GenerationKind.UNDO_GENERATION)
MAX_SUCCESSORS = 16  # how far it is followed what superseded what


@dataclass(frozen=True, slots=True)
class Change:
    """What taking something back does to the live set.

    Attributes:
        off, on: edits that leave it, and edits that enter it.
        displaced: of what leaves, the edits that give way to a newer one of `on`, with that one.
        kept: edits that were asked back and stay off, with the reason.
    """

    off: Sequence[Standing] = ()
    on: Sequence[Standing] = ()
    displaced: Sequence[tuple[Standing, Standing]] = ()
    kept: Sequence[tuple[Standing, str]] = ()
    kind: GenerationKind = field(default=GenerationKind.ROLLBACK)

    @property
    def leaving(self) -> list[Standing]:
        """All that is live now and is not afterwards."""
        return [*self.off, *(edit for edit, _ in self.displaced)]

    @property
    def is_empty(self) -> bool:
        return not (self.off or self.on or self.displaced)


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a rollback in several steps has come: `made`, the generation that it published last, answers as `stop` did."""

    stop: int
    made: int


def next_stop(connection: Connection, number: int, *, below: int, at_once: int) -> int:
    """The generation to go back to first, from `below` on the way to `number`: about `at_once` changes lie between.

    So a rollback of many edits is many short transactions: others get the head's lock in between, and what answers
    meanwhile was published and verified before. One that dies on the way has gone a part of it, and may be asked for again.
    """
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


def plan_rollback(
    connection: Connection, number: int, current: int, *, reached: Reached | None = None
) -> Change:
    """Answer as generation `number` did; what was taken back by hand stays off. Costs what was changed since.

    Args:
        reached: an earlier step of the same rollback: what it has undone is not looked at again.

    Raises:
        NotInLedger: that generation was never published.
    """
    if not 0 <= number <= current:
        raise NotInLedger(f"there is no generation {number}")
    if reached is None:
        touched = set(_touched(connection, number, current))
    else:  # what lies before the earlier step, and what others have published since
        touched = {*_touched(connection, number, reached.stop), *_touched(connection, reached.made, current)}
    then, now = shards_at_each(connection, [number, current], touched)
    found = standings_by_id(connection, then.keys() ^ now.keys())
    by_hand = taken_back(connection, then.keys() - now.keys())
    kept = [found[edit_id] for edit_id in by_arrival(by_hand)]
    on = [edit for edit in found.values() if edit.id in then and edit.id not in by_hand]
    off = [edit for edit in found.values() if edit.id not in then]
    stand_in = _stand_ins(connection, kept, off, on, set(by_hand.values()))
    return Change(
        off=[edit for edit in off if edit.id not in stand_in],
        on=on,
        kept=[(edit, f"taken back by hand in generation {by_hand[edit.id]}") for edit in kept],
    )


def plan_undo_generation(connection: Connection, number: int, current: int) -> Change:
    """Take back what generation `number` did, as far as it still stands: what it switched on goes, what it ended returns.

    What was taken back by hand since stays off, and so does what a newer fact has overtaken.

    Raises:
        NotInLedger: that generation was never published.
        ForbiddenMove: it is generation 0.
    """
    if not 0 <= number <= current:
        raise NotInLedger(f"there is no generation {number}")
    if number == 0:
        raise ForbiddenMove("generation 0 is the base as it is: there is nothing to undo")
    changes = select(generation_changes.c.edit_id, generation_changes.c.shard).where(
        generation_changes.c.generation == number
    )
    switched = {row.edit_id: row.shard for row in connection.execute(changes)}
    found = standings_by_id(connection, switched)
    off = [e for e in found.values() if switched[e.id] is not None and e.state is EditState.LIVE]
    ended = [e for e in found.values() if switched[e.id] is None and e.state is not EditState.LIVE]
    by_hand = {i: g for i, g in taken_back(connection, (e.id for e in ended)).items() if g != number}
    back, kept = _may_return(ended, by_hand)
    successors = _live_successors(connection, back, {edit.id for edit in off})
    standing = _standing(connection, back, off, successors, number)
    settled = settle(back, standing, {one: [winner.id] for one, winner in successors.items()})
    by_id = {edit.id: edit for edit in (*back, *standing)}
    kept += [(by_id[i], f"edit {winner.id} is newer") for i, winner in settled.too_late.items()]
    return Change(
        off=off,
        on=settled.enabled,
        displaced=[(by_id[i], winner) for i, winner in settled.displaced.items()],
        kept=kept,
        kind=GenerationKind.UNDO_GENERATION,
    )


def plan_undo_fact(connection: Connection, edit_id: EditId, *, restore_previous: bool) -> Change:
    """Take one live edit back, for good.

    Raises:
        NotInLedger: there is no such edit.
        ForbiddenMove: the edit is not live.
    """
    edit = standings_by_id(connection, [edit_id]).get(edit_id)
    if edit is None:
        raise NotInLedger(f"there is no edit {edit_id}")
    if edit.state is not EditState.LIVE:
        raise ForbiddenMove(f"edit {edit_id} is {edit.state.value}: only a live edit can be taken back")
    previous = _previous(connection, edit) if restore_previous else None
    return Change(off=[edit], on=[previous] if previous else [], kind=GenerationKind.UNDO_FACT)


def carry_out(
    connection: Connection, change: Change, current: int, *, actor: str | None, cause: str, at: datetime
) -> Generation:
    """Publish the generation that makes a change; the caller holds the head's lock."""
    generation = child_of(
        connection,
        current,
        enabled={edit.id: edit.shard for edit in change.on if edit.shard is not None},
        disabled=[edit.id for edit in change.leaving],
        cause=cause,
        at=at,
    )
    apply_moves(connection, plan_moves(change, generation.number, cause), cause=cause, at=at)
    append(connection, generation, Origin(change.kind, actor=actor), expected_head=current)
    tally(connection, ROLLBACKS, 1)
    return generation


def plan_moves(change: Change, number: int, cause: str) -> list[Move]:
    """Edits taken out of the live set, then those brought back into it, by generation `number`."""
    back = {"generation": number, "superseded_by": None}
    return [
        Move([*change.off], EditState.RETRACTED, f"rolled back: {cause}", number),
        *(supersede([edit], winner, generation=number) for edit, winner in change.displaced),
        Move([*change.on], EditState.LIVE, None, number, back),
    ]


def taken_back(connection: Connection, edit_ids: Iterable[EditId]) -> dict[EditId, int]:
    """Those of the edits that somebody took back by hand and nobody brought back since, with the generation of that."""
    last, later = generation_changes.c, generation_changes.alias()
    found: dict[EditId, int] = {}
    for part in chunks(set(edit_ids)):
        query = (
            select(last.edit_id, last.generation)
            .join(generation_origins, generation_origins.c.generation == last.generation)
            .where(
                last.edit_id.in_(part),
                last.shard.is_(None),
                generation_origins.c.kind.in_([kind.value for kind in BY_HAND]),
                ~exists().where(later.c.edit_id == last.edit_id, later.c.generation > last.generation),
            )
        )
        found.update((edit_id, int(number)) for edit_id, number in connection.execute(query))
    return found


def _touched(connection: Connection, after: int, upto: int) -> list[EditId]:
    """The edits that the generations after one, up to another, switched on or off."""
    changed = generation_changes.c
    query = select(changed.edit_id).where(changed.generation > after, changed.generation <= upto).distinct()
    return list(connection.execute(query).scalars())


def _stand_ins(
    connection: Connection,
    kept: Sequence[Standing],
    off: Sequence[Standing],
    on: Sequence[Standing],
    numbers: Collection[int],
) -> set[EditId]:
    """Of what would leave, what somebody put by hand in the place of an edit that stays off."""
    if not kept:
        return set()
    restored: set[EditId] = set()
    for part in chunks(edit.id for edit in off):
        query = select(generation_changes.c.edit_id).where(
            generation_changes.c.edit_id.in_(part),
            generation_changes.c.generation.in_(sorted(numbers)),
            generation_changes.c.shard.is_not(None),
        )
        restored.update(connection.execute(query).scalars())
    missing = {key for edit in kept for key in rival_keys(edit)}
    taken = {key for edit in on for key in rival_keys(edit)}
    return {
        edit.id
        for edit in off
        if edit.id in restored and missing & {*rival_keys(edit)} and not taken & {*rival_keys(edit)}
    }


def _may_return(
    ended: Sequence[Standing], by_hand: dict[EditId, int]
) -> tuple[list[Standing], list[tuple[Standing, str]]]:
    back: list[Standing] = []
    kept: list[tuple[Standing, str]] = []
    for edit in ended:
        if edit.id in by_hand:
            kept.append((edit, f"taken back by hand in generation {by_hand[edit.id]}"))
        elif edit.shard is None or edit.state not in (EditState.SUPERSEDED, EditState.RETRACTED):
            kept.append((edit, f"it is {edit.state.value}"))
        else:
            back.append(edit)
    return back, kept


def _standing(
    connection: Connection,
    back: Sequence[Standing],
    off: Sequence[Standing],
    successors: dict[EditId, Standing],
    number: int,
) -> list[Standing]:
    """What decides about edits that would return: live rivals that stay, and retractions, but for those undone here."""
    leaving = {edit.id for edit in off}
    undone = (edits.c.op == "retract") & (edits.c.generation == number)
    rivals = rivals_of(connection, back, DECIDES, ~undone | edits.c.generation.is_(None))
    found = {edit.id: edit for edit in (*rivals, *successors.values()) if edit.id not in leaving}
    return list(found.values())


def _live_successors(
    connection: Connection, back: Sequence[Standing], leaving: Collection[EditId]
) -> dict[EditId, Standing]:
    """Edit -> the live edit at the end of the chain of those that superseded it, where there is one that stays."""
    at = {edit.id: edit.id for edit in back}
    found: dict[EditId, Standing] = {}
    for _ in range(MAX_SUCCESSORS):
        following = superseded_by(connection, set(at.values()))
        at = {edit_id: following[step] for edit_id, step in at.items() if step in following}
        if not at:
            break
        winners = standings_by_id(connection, at.values())
        for edit_id, step in at.items():
            if step in winners and winners[step].state is EditState.LIVE and step not in leaving:
                found[edit_id] = winners[step]
    return found


def _previous(connection: Connection, edit: Standing) -> Standing | None:
    """What the fact's value was before `edit`, if that is known and nothing else stands in its way."""
    older = [rival for rival in rivals_of(connection, [edit]) if rival.recency < edit.recency]
    for rival in newest_first(older):
        if rival.op == "retract" and rival.state in (EditState.RETRACTED, EditState.SUPERSEDED):
            return None
        if rival.state is EditState.SUPERSEDED and rival.shard is not None:
            live = rivals_of(connection, [rival], edits.c.state == EditState.LIVE.value)
            return rival if {other.id for other in live} <= {edit.id} else None
    return None
