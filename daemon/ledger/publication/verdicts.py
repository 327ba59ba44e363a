"""Carry out what blame has found: culprits are quarantined, and everybody else is as live as before the rollback."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy import Connection, or_, select

from daemon.ledger.errors import NotInLedger
from daemon.ledger.publication.conflicts import Settlement, settle
from daemon.ledger.publication.manifests import append, child_of, load_generations
from daemon.ledger.store.database import lock_head
from daemon.ledger.store.rows import Standing, chunks, rivals_of, standings_by_id
from daemon.ledger.store.schema import edits, generations, history
from daemon.ledger.store.transitions import transition
from daemon.ledger.values import Blamed, EditState, Generation
from edits.recency import newest_first

_IN_FORCE = (edits.c.op == "retract") & (edits.c.state == EditState.RETRACTED.value)
_DECIDES = or_(edits.c.state == EditState.LIVE.value, _IN_FORCE)


@dataclass(frozen=True, slots=True)
class Blame:
    """See `Generations.settle_blame`."""

    culprits: Mapping[int, Blamed]
    innocent: frozenset[int]
    rolled_back: int | None
    cause: str


@dataclass(frozen=True, slots=True)
class _Moves:
    """What becomes of each edit that the verdict touches."""

    guilty: list[Standing]
    settlement: Settlement  # of the innocent against what is live
    standing: list[Standing]  # what the innocent were settled against
    gone_again: dict[
        int, Standing
    ]  # brought back by the rollback -> what had ended it before, and does so again


def settle_blame(connection: Connection, blame: Blame, *, at: datetime) -> Generation | None:
    """See `Generations.settle_blame`."""
    current = lock_head(connection).generation
    if current is None:
        raise NotInLedger("there is no generation yet")
    moves = _moves(connection, blame)
    generation = _next_generation(connection, current, blame, moves, at)
    _move(connection, blame, moves, generation, at)
    if generation is not None:
        append(connection, generation, expected_head=current)
    return generation


def _moves(connection: Connection, blame: Blame) -> _Moves:
    switched_off, brought_back = _undone(connection, blame)
    found = standings_by_id(connection, blame.culprits)
    guilty = [
        edit
        for edit in found.values()
        if edit.state is EditState.LIVE or (edit.state is EditState.RETRACTED and edit.id in switched_off)
    ]
    back = [
        edit
        for edit in standings_by_id(connection, blame.innocent & switched_off).values()
        if edit.state is EditState.RETRACTED and edit.shard is not None
    ]
    standing = [edit for edit in rivals_of(connection, back, _DECIDES) if edit.id not in blame.culprits]
    settlement = settle(back, standing)
    restored = {edit.id: edit for edit in settlement.enabled}
    superseded_by = _superseded_by(connection, brought_back)
    again: dict[int, Standing] = {}
    for edit in standings_by_id(connection, brought_back).values():
        if edit.state is EditState.LIVE and edit.id not in settlement.displaced:
            newer = [
                rival for rival in rivals_of(connection, [edit], _IN_FORCE) if rival.recency > edit.recency
            ]
            winner = restored.get(superseded_by.get(edit.id, 0))
            if newer or winner is not None:
                again[edit.id] = winner or newest_first(newer)[0]
    return _Moves(guilty, settlement, standing, again)


def _undone(connection: Connection, blame: Blame) -> tuple[frozenset[int], frozenset[int]]:
    """The edits that the rollback switched off, and those that it brought back."""
    if blame.rolled_back is None:
        return frozenset(), frozenset()
    found = load_generations(connection, generations.c.number == blame.rolled_back)
    if not found:
        raise NotInLedger(f"there is no generation {blame.rolled_back}")
    off, on = found[0].disabled, found[0].enabled
    return frozenset(int(edit_id) for edit_id in off), frozenset(int(edit_id) for edit_id in on)


def _superseded_by(connection: Connection, edit_ids: Collection[int]) -> dict[int, int]:
    """Edit -> the edit that superseded it last, also where the two share neither fact nor prompt."""
    found: dict[int, int] = {}
    for part in chunks(sorted(edit_ids)):
        query = select(history.c.edit_id, history.c.detail).where(
            history.c.edit_id.in_(part), history.c.to_state == EditState.SUPERSEDED.value
        )
        for edit_id, detail in connection.execute(query.order_by(history.c.id)):
            found[edit_id] = detail.get("superseded_by", 0)
    return found


def _next_generation(
    connection: Connection, current: int, blame: Blame, moves: _Moves, at: datetime
) -> Generation | None:
    enabled = {str(edit.id): edit.shard for edit in moves.settlement.enabled if edit.shard is not None}
    live_culprits = [edit.id for edit in moves.guilty if edit.state is EditState.LIVE]
    disabled = sorted({*live_culprits, *moves.settlement.displaced, *moves.gone_again})
    if not enabled and not disabled:
        return None
    return child_of(
        connection,
        current,
        enabled=enabled,
        disabled=[str(edit_id) for edit_id in disabled],
        cause=blame.cause,
        at=at,
    )


def _move(
    connection: Connection, blame: Blame, moves: _Moves, generation: Generation | None, at: datetime
) -> None:
    """What leaves the live set leaves it before anything enters."""
    number = generation.number if generation is not None else None
    move = partial(transition, connection, cause=blame.cause, at=at, generation=number)
    for edit in moves.guilty:
        blamed = blame.culprits[edit.id]
        move([edit], EditState.QUARANTINED, reason=blamed.reason, detail={"blame": dict(blamed.detail)})
    by_id = {edit.id: edit for edit in moves.standing}
    for edit_id, winner in moves.settlement.displaced.items():
        told = f"edit {winner.id} is newer"
        move([by_id[edit_id]], EditState.SUPERSEDED, reason=told, columns={"superseded_by": winner.id})
    again = standings_by_id(connection, moves.gone_again)
    for edit_id, winner in moves.gone_again.items():
        if winner.op == "retract":
            move([again[edit_id]], EditState.RETRACTED, reason=f"edit {winner.id} retracts it")
        else:
            told = f"edit {winner.id} is newer"
            move([again[edit_id]], EditState.SUPERSEDED, reason=told, columns={"superseded_by": winner.id})
    move(
        moves.settlement.enabled,
        EditState.LIVE,
        columns={"generation": number, "superseded_by": None},
        detail={"blame": {"verdict": "innocent"}},
    )
