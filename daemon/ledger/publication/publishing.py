"""Publish a generation: one transaction that swaps the head, moves the edits and finishes the batch."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, or_

from daemon.ledger.errors import HeadMoved
from daemon.ledger.publication.conflicts import Settlement, settle
from daemon.ledger.publication.manifests import append, child_of
from daemon.ledger.queue.batches import applying, leased, update_leased
from daemon.ledger.store.database import lock_head
from daemon.ledger.store.rows import Standing, rivals_of, standings_by_id
from daemon.ledger.store.schema import edits
from daemon.ledger.store.transitions import transition
from daemon.ledger.values import ClaimedBatch, EditState, Generation, RejectedEdit

_DECIDES = or_(
    edits.c.state == EditState.LIVE.value,
    (edits.c.op == "retract") & (edits.c.state == EditState.RETRACTED.value),
)
_WAITS = edits.c.state.in_([EditState.PENDING.value, EditState.PLANNED.value])


@dataclass(frozen=True, slots=True)
class Publication:
    """What a worker hands in for a claimed batch; `Generations.publish` says what each part means."""

    batch: ClaimedBatch
    expected_head: int
    live: Mapping[int, str]  # edit -> digest of the shard that carries it
    rejected: Mapping[int, RejectedEdit]
    scores: Mapping[str, Any]
    cause: str
    same: Mapping[int, Iterable[int]] = field(default_factory=dict)  # edit -> others that ask what it asks


def publish(connection: Connection, publication: Publication, *, at: datetime) -> Generation | None:
    """See `Generations.publish`."""
    current = lock_head(connection).generation
    leased(connection, publication.batch.id, publication.batch.token)
    if current != publication.expected_head:
        raise HeadMoved(f"the head is generation {current}, not {publication.expected_head}")
    members = applying(connection, publication.batch.id)
    _require_verdicts(publication, members)

    candidates = [member for member in members if member.id not in publication.rejected]
    standing = _standing(connection, publication, candidates)
    settlement = settle(candidates, standing, publication.same)
    generation = _next_generation(connection, publication, settlement, standing, at)
    _move(connection, publication, members, settlement, standing, generation, at)
    if generation is not None:
        append(connection, generation, expected_head=publication.expected_head)
    update_leased(
        connection, publication.batch.id, publication.batch.token, state="done", worker=None, finished_at=at
    )
    return generation


def _standing(
    connection: Connection, publication: Publication, candidates: Sequence[Standing]
) -> list[Standing]:
    """What decides about the candidates: their rivals by key, and live edits that ask the same in other words."""
    found = {edit.id: edit for edit in rivals_of(connection, candidates, _DECIDES)}
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
    enabled = {str(edit.id): publication.live[edit.id] for edit in settlement.enabled}
    return child_of(
        connection,
        publication.expected_head,
        shards=tuple(dict.fromkeys(enabled.values())),
        enabled=enabled,
        disabled=[str(edit.id) for edit in standing if edit.id in settlement.displaced],
        cause=publication.cause,
        at=at,
        scores=publication.scores,
    )


def _move(
    connection: Connection,
    publication: Publication,
    members: Sequence[Standing],
    settlement: Settlement,
    standing: Sequence[Standing],
    generation: Generation | None,
    at: datetime,
) -> None:
    """Move every edit that the publication touches; old live edits leave before new ones enter."""
    cause = f"batch {publication.batch.id}"
    number = generation.number if generation is not None else None
    for edit in standing:
        if (winner := settlement.displaced.get(edit.id)) is not None:
            _give_way(connection, [edit], winner, cause=cause, at=at, generation=number)
    for retraction in settlement.in_force:
        waiting = [
            edit for edit in rivals_of(connection, [retraction], _WAITS) if edit.recency < retraction.recency
        ]
        _give_way(connection, waiting, retraction, cause=cause, at=at, generation=None)
    for member in members:
        if (winner := settlement.too_late.get(member.id)) is not None:
            transition(
                connection,
                [member],
                EditState.SUPERSEDED,
                cause=cause,
                at=at,
                reason=f"edit {winner.id} is newer",
                columns={"superseded_by": winner.id},
            )
        elif (verdict := publication.rejected.get(member.id)) is not None:
            transition(
                connection,
                [member],
                EditState.REJECTED,
                cause=cause,
                at=at,
                reason=verdict.reason,
                detail={"scores": dict(verdict.scores)},
            )
    transition(
        connection,
        settlement.in_force,
        EditState.RETRACTED,
        cause=cause,
        at=at,
        reason="the retraction is in force",
        generation=number,
        columns={"generation": number},
    )
    for shard in dict.fromkeys(publication.live.values()):
        transition(
            connection,
            [edit for edit in settlement.enabled if publication.live[edit.id] == shard],
            EditState.LIVE,
            cause=cause,
            at=at,
            generation=number,
            columns={"generation": number, "shard": shard, "superseded_by": None},
        )


def _give_way(
    connection: Connection,
    losers: Sequence[Standing],
    winner: Standing,
    *,
    cause: str,
    at: datetime,
    generation: int | None,
) -> None:
    """Older edits go where the winner sends them: superseded by an assertion, retracted by a retraction."""
    by_retraction = winner.op == "retract"
    transition(
        connection,
        losers,
        EditState.RETRACTED if by_retraction else EditState.SUPERSEDED,
        cause=cause,
        at=at,
        reason=f"edit {winner.id} retracts it" if by_retraction else f"edit {winner.id} is newer",
        generation=generation,
        columns={"superseded_by": None if by_retraction else winner.id},
    )
