"""Take changes back: one edit, one generation, or everything since a generation; always by publishing a new generation.

What would change is computed first (`plan_...`), by what is seen before and by what is done alike, and then carried out.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, exists, func, select, update

from daemon.ledger.errors import ForbiddenMove, NotInLedger
from daemon.ledger.publication.conflicts import settle
from daemon.ledger.publication.manifests import Origin, append, child_of, shards_at, shards_at_each
from daemon.ledger.store.rows import DECIDES, Standing, chunks, rivals_of, standings_by_id, superseded_by
from daemon.ledger.store.schema import edits, generation_changes, generation_origins
from daemon.ledger.store.transitions import ROLLBACKS, Move, apply_moves, supersede, tally
from daemon.ledger.values import EditState, Generation, GenerationKind
from edits.ids import EditId
from edits.recency import by_arrival, newest_first, rival_keys

BY_HAND = (GenerationKind.UNDO_FACT, GenerationKind.UNDO_GENERATION)
MAY_RETURN = frozenset({EditState.SUPERSEDED, EditState.RETRACTED})
MAX_UNDONE = 10_000  # edits of one generation, in one transaction
MAX_SUCCESSORS = 16  # how far it is followed what superseded what


@dataclass(frozen=True, slots=True)
class Change:
    """What taking something back does to the live set.

    Attributes:
        off, on: edits that leave it, and edits that enter it.
        displaced: of what leaves, the edits that give way to a newer one of `on`, with that one.
        kept: edits that were asked back and stay off, with the reason.
        shards: of what is live afterwards, the shards that carry it then, where others do now.
    """

    off: Sequence[Standing] = ()
    on: Sequence[Standing] = ()
    displaced: Sequence[tuple[Standing, Standing]] = ()
    kept: Sequence[tuple[Standing, str]] = ()
    kind: GenerationKind = GenerationKind.ROLLBACK
    shards: Mapping[EditId, str] = field(default_factory=dict)

    @property
    def leaving(self) -> list[Standing]:
        """All that is live now and is not afterwards."""
        return [*self.off, *(edit for edit, _ in self.displaced)]

    @property
    def is_empty(self) -> bool:
        return not (self.off or self.on or self.displaced or self.shards)

    @property
    def enabled(self) -> dict[EditId, str]:
        """What the generation that makes the change switches on: edit -> shard."""
        return {edit.id: edit.shard for edit in self.on if edit.shard is not None} | dict(self.shards)


def plan_rollback(connection: Connection, number: int, current: int) -> Change:
    """Answer as generation `number` did; what was taken back by hand stays off. Costs what was changed since.

    Raises:
        NotInLedger: that generation was never published.
    """
    require_published(number, current)
    touched = _touched(connection, number, current)
    then, now = shards_at_each(connection, [number, current], touched)
    found = standings_by_id(connection, then.keys() ^ now.keys())
    by_hand = taken_back(connection, then.keys() - now.keys())
    ended = [found[edit_id] for edit_id in by_arrival(then.keys() - now.keys())]
    on, kept = _may_return(ended, by_hand)
    off = [edit for edit in found.values() if edit.id not in then]
    put_on = put_on_by(connection, set(by_hand.values()))
    kept_by_hand = [edit for edit, _ in kept if edit.id in by_hand]
    stand_in = stand_ins(kept_by_hand, [edit for edit in off if edit.id in put_on], on)
    return Change(
        off=[edit for edit in off if edit.id not in stand_in],
        on=on,
        kept=kept,
        shards=other_shards(then, now, on),
    )


def other_shards(
    then: Mapping[EditId, str], now: Mapping[EditId, str], on: Sequence[Standing]
) -> dict[EditId, str]:
    """Of edits that are live again or still, the shards that carried them then, where others do now."""
    again = {edit.id: then[edit.id] for edit in on if edit.shard != then[edit.id]}
    return again | {i: then[i] for i in then.keys() & now.keys() if then[i] != now[i]}


def size_of(connection: Connection, number: int, current: int) -> int:
    """How many changes the generations after `number` made, up to `current`.

    Raises:
        NotInLedger: `number` was never published.
    """
    require_published(number, current)
    origin = generation_origins.c
    made = func.coalesce(func.sum(origin.switched_on + origin.switched_off), 0)
    query = select(made).where(origin.generation > number, origin.generation <= current)
    return int(connection.execute(query).scalar_one())


def require_published(number: int, current: int) -> None:
    """Let the number of a published generation pass.

    Raises:
        NotInLedger: that generation was never published.
    """
    if not 0 <= number <= current:
        raise NotInLedger(f"there is no generation {number}")


def plan_undo_generation(connection: Connection, number: int, current: int) -> Change:
    """Take back what generation `number` did, as far as it still stands: what it switched on goes, what it ended returns.

    What was taken back by hand since stays off, and so does what a newer fact has overtaken.

    Raises:
        NotInLedger: that generation was never published.
        ForbiddenMove: it is generation 0.
    """
    require_published(number, current)
    if number == 0:
        raise ForbiddenMove("generation 0 is the base as it is: there is nothing to undo")
    if size_of(connection, number - 1, number) > MAX_UNDONE:
        raise ForbiddenMove(
            f"generation {number} changed more than {MAX_UNDONE:,} edits, which cannot be undone in one step: "
            f"roll back to generation {number - 1}, which takes back what was published since as well"
        )
    changes = select(generation_changes.c.edit_id, generation_changes.c.shard).where(
        generation_changes.c.generation == number
    )
    switched = {row.edit_id: row.shard for row in connection.execute(changes)}
    found = standings_by_id(connection, switched)
    live = [e for e in found.values() if switched[e.id] is not None and e.state is EditState.LIVE]
    # A rollback may have given an edit that was live already the shard of an earlier time.
    before = shards_at(connection, number - 1, [edit.id for edit in live])
    off = [edit for edit in live if edit.id not in before]
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
        shards={e.id: before[e.id] for e in live if e.id in before and e.shard == switched[e.id]},
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
        enabled=change.enabled,
        disabled=[edit.id for edit in change.leaving],
        cause=cause,
        at=at,
    )
    move_edits(connection, change, generation.number, cause, at)
    append(connection, generation, Origin(change.kind, actor=actor), expected_head=current)
    tally(connection, ROLLBACKS, 1)
    return generation


def move_edits(connection: Connection, change: Change, number: int, cause: str, at: datetime) -> None:
    """Give the edits the states and shards that they have in generation `number`."""
    apply_moves(connection, plan_moves(change, number, cause), cause=cause, at=at)
    for edit_id, shard in change.shards.items():
        connection.execute(update(edits).where(edits.c.id == edit_id).values(shard=shard))


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
    found: dict[EditId, int] = {}
    for part in chunks(set(edit_ids)):
        found |= taken_back_where(connection, generation_changes.c.edit_id.in_(part))
    return found


def taken_back_where(connection: Connection, *conditions: ColumnElement[bool]) -> dict[EditId, int]:
    """`taken_back` by conditions on what the generations changed."""
    last, later = generation_changes.c, generation_changes.alias()
    query = (
        select(last.edit_id, last.generation)
        .join(generation_origins, generation_origins.c.generation == last.generation)
        .where(
            *conditions,
            last.shard.is_(None),
            generation_origins.c.kind.in_([kind.value for kind in BY_HAND]),
            ~exists().where(later.c.edit_id == last.edit_id, later.c.generation > last.generation),
        )
    )
    return {edit_id: int(number) for edit_id, number in connection.execute(query)}


def _touched(connection: Connection, after: int, upto: int) -> list[EditId]:
    """The edits that the generations after one, up to another, switched on or off."""
    changed = generation_changes.c
    query = select(changed.edit_id).where(changed.generation > after, changed.generation <= upto).distinct()
    return list(connection.execute(query).scalars())


def put_on_by(connection: Connection, numbers: Iterable[int]) -> set[EditId]:
    """The edits that these generations switched on."""
    changed = generation_changes.c
    found: set[EditId] = set()
    for part in chunks(numbers):
        query = select(changed.edit_id).where(changed.generation.in_(part), changed.shard.is_not(None))
        found.update(connection.execute(query).scalars())
    return found


def stand_ins(kept: Sequence[Standing], put_on: Sequence[Standing], on: Sequence[Standing]) -> set[EditId]:
    """Of what would leave and was put on when edits were taken back by hand, what stands in the place of one that stays off.

    Args:
        kept: what was taken back by hand and stays off.
        on: what returns.
    """
    missing = {key for edit in kept for key in rival_keys(edit)}
    taken = {key for edit in on for key in rival_keys(edit)}
    return {edit.id for edit in put_on if missing & {*rival_keys(edit)} and not taken & {*rival_keys(edit)}}


def _may_return(
    ended: Sequence[Standing], by_hand: dict[EditId, int]
) -> tuple[list[Standing], list[tuple[Standing, str]]]:
    back: list[Standing] = []
    kept: list[tuple[Standing, str]] = []
    for edit in ended:
        if edit.id in by_hand:
            kept.append((edit, f"taken back by hand in generation {by_hand[edit.id]}"))
        elif edit.shard is None or edit.state not in MAY_RETURN:
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
