"""Publish a generation: one transaction that swaps the head, moves the edits and finishes the batch."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from daemon.ledger.errors import HeadMoved
from daemon.ledger.publication.conflicts import Settlement, settle
from daemon.ledger.publication.manifests import Origin, append, child_of
from daemon.ledger.queue.batches import applying
from daemon.ledger.store.database import lock_head
from daemon.ledger.store.lease_queue import BATCHES
from daemon.ledger.store.references import require_finished
from daemon.ledger.store.rows import DECIDES, Standing, rivals_of, standings_by_id
from daemon.ledger.store.schema import edits
from daemon.ledger.store.transitions import Move, apply_moves, give_way, supersede
from daemon.ledger.values import ClaimedBatch, EditState, Generation, GenerationKind, RejectedEdit
from edits.ids import EditId

_WAITS = edits.c.state.in_([EditState.PENDING.value, EditState.PLANNED.value])


@dataclass(frozen=True, slots=True)
class Publication:
    """What a worker hands in for a claimed batch; `Generations.publish` says what each part means."""

    batch: ClaimedBatch
    expected_head: int
    live: Mapping[EditId, str]  # edit -> digest of the shard that carries it
    rejected: Mapping[EditId, RejectedEdit]
    scores: Mapping[str, Any]
    cause: str
    same: Mapping[EditId, Iterable[EditId]] = field(
        default_factory=dict
    )  # edit -> others that ask what it asks


def publish(connection: Connection, publication: Publication, *, at: datetime) -> Generation | None:
    """See `Generations.publish`."""
    current = lock_head(connection).generation
    BATCHES.held(connection, publication.batch.id, publication.batch.token)
    if current != publication.expected_head:
        raise HeadMoved(f"the head is generation {current}, not {publication.expected_head}")
    require_finished(connection)
    members = applying(connection, publication.batch.id)
    _require_verdicts(publication, members)

    candidates = [member for member in members if member.id not in publication.rejected]
    standing = _standing(connection, publication, candidates)
    settlement = settle(candidates, standing, publication.same)
    generation = _next_generation(connection, publication, settlement, standing, at)
    waiting = _waiting(connection, settlement)
    moves = plan_moves(publication, members, settlement, standing, waiting, generation)
    apply_moves(connection, moves, cause=f"batch {publication.batch.id}", at=at)
    if generation is not None:
        origin = Origin(GenerationKind.BATCH, publication.batch.id)
        append(connection, generation, origin, expected_head=publication.expected_head)
    BATCHES.update(
        connection, publication.batch.id, publication.batch.token, state="done", worker=None, finished_at=at
    )
    return generation


def _standing(
    connection: Connection, publication: Publication, candidates: Sequence[Standing]
) -> list[Standing]:
    """What decides about the candidates: their rivals by key, and live edits that ask the same in other words."""
    found = {edit.id: edit for edit in rivals_of(connection, candidates, DECIDES)}
    own = {candidate.id for candidate in candidates}
    named = {other for i in own for other in publication.same.get(i, ())} - own - found.keys()
    for edit in standings_by_id(connection, named).values():
        if edit.state is EditState.LIVE:
            found[edit.id] = edit
    return list(found.values())


def _require_verdicts(publication: Publication, members: Sequence[Standing]) -> None:
    ids = {member.id for member in members}
    assertions = {member.id for member in members if member.op == "assert"}
    live, rejected = set(publication.live), set(publication.rejected)
    if not live | rejected <= ids or live & rejected or not assertions <= live | rejected:
        raise ValueError(f"batch {publication.batch.id}: each assertion is either in live or in rejected")


def _next_generation(
    connection: Connection,
    publication: Publication,
    settlement: Settlement,
    standing: Sequence[Standing],
    at: datetime,
) -> Generation | None:
    if not settlement.enabled and not settlement.displaced:
        return None
    enabled = {edit.id: publication.live[edit.id] for edit in settlement.enabled}
    return child_of(
        connection,
        publication.expected_head,
        shards=tuple(dict.fromkeys(enabled.values())),
        enabled=enabled,
        disabled=[edit.id for edit in standing if edit.id in settlement.displaced],
        cause=publication.cause,
        at=at,
        scores=publication.scores,
    )


def _waiting(connection: Connection, settlement: Settlement) -> dict[EditId, list[Standing]]:
    """By retraction that takes effect: the older edits that wait and that it ends, each under the first that does."""
    found: dict[EditId, list[Standing]] = {}
    ended: set[EditId] = set()
    for retraction in settlement.in_force:
        rivals = rivals_of(connection, [retraction], _WAITS)
        older = [one for one in rivals if one.recency < retraction.recency and one.id not in ended]
        found[retraction.id] = older
        ended |= {one.id for one in older}
    return found


def plan_moves(
    publication: Publication,
    members: Sequence[Standing],
    settlement: Settlement,
    standing: Sequence[Standing],
    waiting: Mapping[EditId, Sequence[Standing]],
    generation: Generation | None,
) -> list[Move]:
    """What becomes of every edit that the publication touches; old live edits leave before new ones enter.

    Args:
        waiting: by retraction that takes effect, the edits that never get their turn because of it.
    """
    number = generation.number if generation is not None else None
    by_id = {edit.id: edit for edit in standing}
    moves = [give_way([by_id[i]], winner, generation=number) for i, winner in settlement.displaced.items()]
    moves += [give_way(waiting.get(one.id, ()), one) for one in settlement.in_force]
    for member in members:
        if (winner := settlement.too_late.get(member.id)) is not None:
            moves.append(supersede([member], winner))
        elif (verdict := publication.rejected.get(member.id)) is not None:
            scores = {"scores": dict(verdict.scores)}
            moves.append(Move([member], EditState.REJECTED, verdict.reason, detail=scores))
    in_force = "the retraction is in force"
    moves.append(Move(settlement.in_force, EditState.RETRACTED, in_force, number, {"generation": number}))
    for shard in dict.fromkeys(publication.live.values()):
        enabled = [edit for edit in settlement.enabled if publication.live[edit.id] == shard]
        columns = {"generation": number, "shard": shard, "superseded_by": None}
        moves.append(Move(enabled, EditState.LIVE, None, number, columns))
    return moves
