"""Carry out what blame has found: culprits are quarantined, and everybody else is as live as before the rollback."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from daemon.ledger.errors import NotInLedger
from daemon.ledger.publication.conflicts import Settlement, settle
from daemon.ledger.publication.manifests import Origin, append, child_of, load_generations
from daemon.ledger.store.database import lock_head
from daemon.ledger.store.references import require_finished
from daemon.ledger.store.rows import DECIDES, IN_FORCE, Standing, chunks, rivals_of, standings_by_id
from daemon.ledger.store.schema import generations, history
from daemon.ledger.store.transitions import Move, apply_moves, give_way, supersede
from daemon.ledger.values import Blamed, EditState, Generation, GenerationKind
from edits.ids import EditId
from edits.recency import by_arrival, newest_first


@dataclass(frozen=True, slots=True)
class Blame:
    """See `Generations.settle_blame`."""

    culprits: Mapping[EditId, Blamed]
    cleared: frozenset[EditId]
    rolled_back: int | None
    cause: str


@dataclass(frozen=True, slots=True)
class Effects:
    """What a verdict does to each edit that it touches.

    Attributes:
        offending: culprits that are live, or would be but for the rollback.
        settlement: of the cleared edits against what is live.
        standing: what they were settled against.
        gone_again: edits brought back by the rollback, each with what had ended it before and does so again.
    """

    offending: Sequence[Standing]
    settlement: Settlement
    standing: Sequence[Standing]
    gone_again: Sequence[tuple[Standing, Standing]] = ()


def settle_blame(connection: Connection, blame: Blame, *, at: datetime) -> Generation | None:
    """See `Generations.settle_blame`."""
    current = lock_head(connection).generation
    require_finished(connection)
    if current is None:
        raise NotInLedger("there is no generation yet")
    effects = _effects(connection, blame)
    generation = _next_generation(connection, current, blame, effects, at)
    number = generation.number if generation is not None else None
    apply_moves(connection, plan_moves(blame, effects, number), cause=blame.cause, at=at)
    if generation is not None:
        append(connection, generation, Origin(GenerationKind.BLAME), expected_head=current)
    return generation


def _effects(connection: Connection, blame: Blame) -> Effects:
    switched_off, brought_back = _undone(connection, blame)
    found = standings_by_id(connection, blame.culprits)
    offending = [
        edit
        for edit in found.values()
        if edit.state is EditState.LIVE or (edit.state is EditState.RETRACTED and edit.id in switched_off)
    ]
    back = [
        edit
        for edit in standings_by_id(connection, blame.cleared & switched_off).values()
        if edit.state is EditState.RETRACTED and edit.shard is not None
    ]
    standing = [edit for edit in rivals_of(connection, back, DECIDES) if edit.id not in blame.culprits]
    settlement = settle(back, standing)
    restored = {edit.id: edit for edit in settlement.enabled}
    superseded_by = _superseded_by(connection, brought_back)
    again: list[tuple[Standing, Standing]] = []
    for edit in standings_by_id(connection, brought_back).values():
        if edit.state is EditState.LIVE and edit.id not in settlement.displaced:
            newer = [
                rival for rival in rivals_of(connection, [edit], IN_FORCE) if rival.recency > edit.recency
            ]
            winner = restored.get(superseded_by.get(edit.id, ""))
            if newer or winner is not None:
                again.append((edit, winner or newest_first(newer)[0]))
    return Effects(offending, settlement, standing, again)


def _undone(connection: Connection, blame: Blame) -> tuple[frozenset[EditId], frozenset[EditId]]:
    """The edits that the rollback switched off, and those that it brought back."""
    if blame.rolled_back is None:
        return frozenset(), frozenset()
    found = load_generations(connection, generations.c.number == blame.rolled_back)
    if not found:
        raise NotInLedger(f"there is no generation {blame.rolled_back}")
    return frozenset(found[0].disabled), frozenset(found[0].enabled)


def _superseded_by(connection: Connection, edit_ids: Collection[EditId]) -> dict[EditId, EditId]:
    """Edit -> the edit that superseded it last, also where the two share neither fact nor prompt."""
    found: dict[EditId, EditId] = {}
    for part in chunks(edit_ids):
        query = select(history.c.edit_id, history.c.detail).where(
            history.c.edit_id.in_(part), history.c.to_state == EditState.SUPERSEDED.value
        )
        for edit_id, detail in connection.execute(query.order_by(history.c.id)):
            found[edit_id] = str(detail.get("superseded_by", ""))
    return found


def _next_generation(
    connection: Connection, current: int, blame: Blame, effects: Effects, at: datetime
) -> Generation | None:
    enabled = {edit.id: edit.shard for edit in effects.settlement.enabled if edit.shard is not None}
    live_culprits = [edit.id for edit in effects.offending if edit.state is EditState.LIVE]
    disabled = by_arrival(
        {*live_culprits, *effects.settlement.displaced, *(edit.id for edit, _ in effects.gone_again)}
    )
    if not enabled and not disabled:
        return None
    return child_of(
        connection,
        current,
        enabled=enabled,
        disabled=disabled,
        cause=blame.cause,
        at=at,
    )


def plan_moves(blame: Blame, effects: Effects, generation: int | None) -> list[Move]:
    """What becomes of each edit; what leaves the live set leaves it before anything enters."""
    moves = [
        Move(
            [edit],
            EditState.QUARANTINED,
            blame.culprits[edit.id].reason,
            generation,
            detail={"blame": dict(blame.culprits[edit.id].detail)},
        )
        for edit in effects.offending
    ]
    by_id = {edit.id: edit for edit in effects.standing}
    moves += [
        supersede([by_id[edit_id]], winner, generation=generation)
        for edit_id, winner in effects.settlement.displaced.items()
    ]
    moves += [give_way([edit], winner, generation=generation) for edit, winner in effects.gone_again]
    back = {"generation": generation, "superseded_by": None}
    cleared = {"blame": {"verdict": "cleared"}}
    moves.append(Move(effects.settlement.enabled, EditState.LIVE, None, generation, back, cleared))
    return moves
