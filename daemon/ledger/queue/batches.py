"""Batches and their leases: who works on what, and until when the others keep off."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, func, select

from daemon.ledger.queue.plans import create_batches
from daemon.ledger.store.database import Database, lock_head
from daemon.ledger.store.lease_queue import BATCHES
from daemon.ledger.store.rows import Standing, clip, select_edits, standings, to_edit, to_standing
from daemon.ledger.store.schema import batches, edits
from daemon.ledger.store.schema.columns import REASON_CHARS
from daemon.ledger.store.schema.conditions import BATCH_IS_OPEN
from daemon.ledger.store.transitions import Move, apply_moves
from daemon.ledger.values import ClaimedBatch, EditState, Lane, OpenBatches, PlannedBatch
from edits.ids import EditId
from edits.text import counted

CLAIM_ORDER = (batches.c.plan_id, batches.c.sequence, batches.c.id)


class Batches:
    """What workers do with batches; `generations.publish` is how one is finished.

    A claim raises the batch's fencing token. Whoever comes with an older token changes nothing, however
    late and however sure of itself. Leases are measured by the callers' clocks: machines that share a
    ledger keep their clocks together to well within a lease; where they do not, work is done twice but
    never published twice.
    """

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def claim(
        self, worker: str, *, lease_seconds: float, lanes: Sequence[Lane] = (Lane.URGENT, Lane.BATCH)
    ) -> ClaimedBatch | None:
        """Take the next batch, by `lanes`, then plan, then sequence; None: nothing to do, or held.

        A batch whose lease ran out is taken over. `attempts` counts the claims, this one included: a batch
        that kills its workers shows a growing number, and the caller decides when to give up on it.
        """
        with self._database.write() as connection:
            if lock_head(connection).hold_reason is not None:
                return None
            at = self._clock()
            for lane in lanes:
                own_lane = batches.c.lane == lane.value
                while (row := BATCHES.next_free(connection, at, own_lane, order_by=CLAIM_ORDER)) is not None:
                    if (claimed := self._claim_row(connection, row, worker, at, lease_seconds)) is not None:
                        return claimed
        return None

    def heartbeat(self, batch_id: int, token: int, *, lease_seconds: float) -> None:
        """Keep the lease for `lease_seconds` from now.

        Raises:
            LeaseLost: somebody else has the batch, or it is done.
        """
        until = self._clock() + timedelta(seconds=lease_seconds)
        with self._database.write() as connection:
            BATCHES.update(connection, batch_id, token, free_at=until)

    def retry_later(
        self, batch_id: int, token: int, *, reason: str, delay_seconds: float, max_attempts: int | None
    ) -> None:
        """Give the batch back for `delay_seconds`; after `max_attempts` claims it is quarantined.

        With None the batch is not to blame (the disk was full): this claim does not count.

        Raises:
            LeaseLost: somebody else has the batch, or it is done.
        """
        with self._database.write() as connection:
            lock_head(connection)
            row = BATCHES.held(connection, batch_id, token)
            at = self._clock()
            members = applying(connection, batch_id)
            if BATCHES.give_up(connection, row, max_attempts, at=at):
                given_up = f"gave up after {counted(row.attempts, 'attempt')}: {reason}"
                move = Move(members, EditState.QUARANTINED, given_up)
                apply_moves(connection, [move], cause=f"batch {batch_id}", at=at)
                return
            free_at = at + timedelta(seconds=delay_seconds)
            attempts = row.attempts - 1 if max_attempts is None else row.attempts
            BATCHES.release(connection, batch_id, token, free_at=free_at, attempts=attempts)
            why = {"why": clip(reason, REASON_CHARS), "attempts": row.attempts}
            move = Move(members, EditState.PLANNED, detail=why)
            apply_moves(connection, [move], cause=f"batch {batch_id} is tried again later", at=at)

    def split(
        self, batch_id: int, token: int, parts: Sequence[Sequence[EditId]], *, reason: str
    ) -> list[int]:
        """Replace the batch by smaller ones, which are next in its lane and start with no attempts; its reason says why.

        Raises:
            LeaseLost: somebody else has the batch, or it is done.
            ValueError: the parts are not two or more that hold each of the batch's edits exactly once.
        """
        with self._database.write() as connection:
            lock_head(connection)
            row = BATCHES.held(connection, batch_id, token)
            at = self._clock()
            members = {member.id: member for member in applying(connection, batch_id)}
            if (
                len(parts) < 2
                or not all(parts)
                or sorted(i for part in parts for i in part) != sorted(members)
            ):
                raise ValueError(f"the parts do not hold each edit of batch {batch_id} once, or are not two")
            why = clip(f"{row.reason}; split: {reason}", REASON_CHARS)
            BATCHES.update(connection, batch_id, token, state="split", finished_at=at, reason=why)
            new_ids = []
            for part in parts:
                lane = Lane(row.lane)
                planned = PlannedBatch(row.sequence, lane, row.editor, tuple(part), reason)
                new_ids += create_batches(connection, row.plan_id, [planned], at)
                move = Move(
                    [members[edit_id] for edit_id in part],
                    EditState.PLANNED,
                    columns={"batch_id": new_ids[-1]},
                    detail={"why": clip(reason, REASON_CHARS)},
                )
                apply_moves(connection, [move], cause=f"batch {batch_id} was split", at=at)
            return new_ids

    def open_ones(self) -> list[OpenBatches]:
        """How many batches wait or are worked on, by lane and state, and since when; reads the open ones only."""
        query = (
            select(
                batches.c.lane, batches.c.state, func.count().label("many"), func.min(batches.c.created_at)
            )
            .where(BATCH_IS_OPEN)
            .group_by(batches.c.lane, batches.c.state)
            .order_by(batches.c.lane, batches.c.state)
        )
        with self._database.read() as connection:
            return [
                OpenBatches(Lane(lane), state, int(many), oldest)
                for lane, state, many, oldest in connection.execute(query)
            ]

    def _claim_row(
        self, connection: Connection, row: Row[Any], worker: str, at: datetime, lease_seconds: float
    ) -> ClaimedBatch | None:
        """Lease one batch; None where all its edits have been superseded or retracted since."""
        if row.state == "leased":
            return_edits(connection, row, at)
        waiting = edits.c.state == EditState.PLANNED.value
        found = connection.execute(
            select_edits().where(edits.c.batch_id == row.id, waiting).order_by(edits.c.id)
        ).all()
        until = at + timedelta(seconds=lease_seconds)
        done = {} if found else {"state": "done", "finished_at": at}
        token = BATCHES.claim(connection, row, worker, until=until, **done)
        if not found:
            return None
        move = Move(
            [to_standing(edit) for edit in found],
            EditState.APPLYING,
            columns={"attempts": edits.c.attempts + 1},
            detail={"batch_id": row.id, "token": token},
        )
        apply_moves(connection, [move], cause=f"claimed by {worker}", at=at)
        return ClaimedBatch(
            id=row.id,
            plan_id=row.plan_id,
            lane=Lane(row.lane),
            editor=row.editor,
            token=token,
            attempts=row.attempts + 1,
            edits=tuple(
                replace(to_edit(edit), state=EditState.APPLYING, attempts=edit.attempts + 1, reason=None)
                for edit in found
            ),
        )


def applying(connection: Connection, batch_id: int) -> list[Standing]:
    """The edits that a leased batch is working on."""
    return standings(connection, edits.c.batch_id == batch_id, edits.c.state == EditState.APPLYING.value)


def return_edits(connection: Connection, row: Row[Any], at: datetime) -> None:
    """Take the edits of a batch whose lease ran out back to `planned`."""
    back = {"batch_id": row.id, "token": row.token}
    move = Move(applying(connection, row.id), EditState.PLANNED, detail=back)
    apply_moves(connection, [move], cause=f"the lease of {row.worker} ran out", at=at)


def return_expired(connection: Connection, at: datetime) -> int:
    """Free every batch whose lease ran out, though no worker asks for it; how many there were."""
    rows = connection.execute(
        select(batches).where(BATCH_IS_OPEN, batches.c.state == "leased", BATCHES.is_free(at))
    ).all()
    for row in rows:
        return_edits(connection, row, at)
        BATCHES.release(connection, row.id, row.token, free_at=min(row.free_at, at))
    return len(rows)
