"""Take things back by hand: see what would change, then do it; who did it and why goes into the audit log."""

import math
import time
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Connection, select

from daemon.ledger.errors import ForbiddenMove, HeadMoved, NotInLedger
from daemon.ledger.page_values import MAX_LISTED, KeptOff, Preview
from daemon.ledger.publication.finishing import (
    differs,
    plan_reference,
    publish_reference,
    write_step,
)
from daemon.ledger.publication.manifests import load_generations
from daemon.ledger.publication.pairs import fact_changes, pairs
from daemon.ledger.publication.rollback import (
    Change,
    carry_out,
    plan_rollback,
    plan_undo_fact,
    plan_undo_generation,
    size_of,
)
from daemon.ledger.records.audit_log import record_act
from daemon.ledger.store.database import Database, lock_head
from daemon.ledger.store.references import Reference, require_finished, unfinished
from daemon.ledger.store.schema import edits, generations, head
from daemon.ledger.values import Act, Generation
from edits.ids import EditId

CHANGES_AT_ONCE = 1_000  # in one transaction
LOCK_SECONDS = 0.25  # with the head's lock: what a step of `finish` should take
# Between two steps on SQLite, whose writers do not queue: one that waits looks again every 0.1 seconds.
PAUSE_SECONDS = 0.12

_Plan = Callable[[Connection, int], Change]  # what would change, given the head's number


class Reversals:
    """Every action has a preview that computes the same; what changed in between is refused where it is asked for.

    Every action may raise:
        NotInLedger: there is no such edit or generation.
        ForbiddenMove: it cannot be taken back, or nothing of it is left.
        HeadMoved: another generation was published since `expected_head`.
        RollbackUnfinished: a rollback of many changes is still being written down.
    """

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime],
        *,
        at_once: int = CHANGES_AT_ONCE,
        lock_seconds: float = LOCK_SECONDS,
    ) -> None:
        """
        Args:
            at_once: with more changes to look at, a rollback is published by reference; about as many are written down in
                the first step of `finish`.
            lock_seconds: about how long each of the other steps should take.
        """
        self._at_once, self._lock_seconds = at_once, lock_seconds
        self._database = database
        self._clock = clock

    def preview_rollback(self, number: int) -> Preview:
        """What `rollback` would change."""
        return self._preview("rollback", number, _rollback(number))

    def rollback(self, number: int, act: Act, *, cause: str | None = None) -> Generation:
        """Answer as generation `number` did; the head itself where nothing differs.

        A rollback of many changes is published by reference: it answers at once, and `finish` writes down what it
        changes, after which `Generations.get` tells it. Until then nothing else can be published.
        """
        cause = cause or f"rollback: {act.reason}"
        while True:
            looked_at, is_large = self._look(number)
            if not is_large:
                return self._act("rollback", number, _rollback(number), act, cause, may_be_empty=True)
            if (same := self._same_as(number, looked_at)) is not None:
                return same
            made = self._roll_back_by_reference(number, looked_at, act, cause)
            if made is not None:
                return made

    def _roll_back_by_reference(self, number: int, looked_at: int, act: Act, cause: str) -> Generation | None:
        """None: another generation was published since somebody looked."""
        with self._database.write() as connection:
            current = self._expected_head(connection, act)
            if current != looked_at:
                return None
            reference, at = plan_reference(connection, number, current, cause), self._clock()
            made = publish_reference(connection, reference, actor=act.actor, at=at)
            stay_off = sum(shard is None for shard in reference.exceptions.values())
            changed = {"generation": made.number, "answers_as": number, "kept_off": stay_off}
            record_act(connection, act, "rollback", target={"generation": number}, changed=changed, at=at)
            return made

    def finish(self, *, seconds: float = math.inf) -> bool:
        """Write down what a rollback by reference changes, if there is one, for about so long; whether there was one.

        Anybody may, and several at once: each step is a transaction of its own, and whoever comes next goes on from there.
        """
        until, at_once, worked = time.monotonic() + seconds, self._at_once, False
        while not worked or time.monotonic() < until:
            if worked and self._database.is_sqlite:
                time.sleep(PAUSE_SECONDS)
            begun = time.monotonic()
            if self.unfinished() is None or not self._write_step(at_once):
                break
            took, worked = time.monotonic() - begun, True
            at_once = max(1, int(at_once * min(2.0, max(0.5, self._lock_seconds / took))))
        return worked

    def unfinished(self) -> Reference | None:
        """The head's reference while a rollback is being written down."""
        with self._database.read() as connection:
            return unfinished(connection)

    def _write_step(self, at_once: int) -> bool:
        with self._database.write() as connection:
            return write_step(connection, at_once=at_once, at=self._clock())

    def _look(self, number: int) -> tuple[int, bool]:
        """The head, and whether a rollback has too many changes to look at for one transaction."""
        with self._database.read() as connection:
            current = int(connection.execute(select(head.c.generation)).scalar_one() or 0)
            return current, size_of(connection, number, current) > self._at_once

    def _same_as(self, number: int, current: int) -> Generation | None:
        """The generation `current`, if it answers as `number` did."""
        with self._database.read() as connection:
            if differs(connection, number, current, at_once=CHANGES_AT_ONCE):
                return None
            return load_generations(connection, generations.c.number == current)[0]

    def preview_undo_generation(self, number: int) -> Preview:
        """What `undo_generation` would change."""
        return self._preview("undo_generation", number, _undo_generation(number))

    def undo_generation(self, number: int, act: Act) -> Generation:
        """Take back what one generation did, as far as it still stands; it stays off whatever is rolled back later."""
        cause = f"undo of generation {number}: {act.reason}"
        return self._act("undo_generation", number, _undo_generation(number), act, cause)

    def preview_undo_fact(self, edit_id: EditId, *, restore_previous: bool = False) -> Preview:
        """What `undo_fact` would change."""
        return self._preview("undo_fact", edit_id, _undo_fact(edit_id, restore_previous))

    def undo_fact(self, edit_id: EditId, act: Act, *, restore_previous: bool = False) -> Generation:
        """Take one live edit back for good: it becomes `retracted`, and no rollback brings it back.

        The fact's earlier value stays superseded, and the model answers as its base does, unless
        `restore_previous`: then the newest older edit that it displaced goes live again, if there is one
        and no retraction lies between the two.
        """
        cause = f"undo of edit {edit_id}: {act.reason}"
        return self._act("undo_fact", edit_id, _undo_fact(edit_id, restore_previous), act, cause)

    def _preview(self, action: str, target: int | EditId, plan: _Plan) -> Preview:
        with self._database.read() as connection:
            require_finished(connection)
            current = connection.execute(select(head.c.generation)).scalar_one()
            change = plan(connection, int(current or 0))
            if current is None:
                raise NotInLedger("there is no generation yet")
            winners = {edit.id: winner.id for edit, winner in change.displaced}
            listed = pairs(change.leaving, change.on, winners)[:MAX_LISTED]
            return Preview(
                action=action,
                target=int(target),
                head=int(current),
                switched_off=len(change.leaving),
                switched_on=len(change.on),
                kept_off=len(change.kept),
                changes=fact_changes(connection, listed),
                kept=_kept(connection, change),
            )

    def _act(
        self,
        action: str,
        target: int | EditId,
        plan: _Plan,
        act: Act,
        cause: str,
        *,
        may_be_empty: bool = False,
    ) -> Generation:
        with self._database.write() as connection:
            current = self._expected_head(connection, act)
            change, at = plan(connection, current), self._clock()
            if change.is_empty:
                if not may_be_empty:
                    raise ForbiddenMove(f"nothing of generation {target} is left to undo")
                return load_generations(connection, generations.c.number == current)[0]
            made = carry_out(connection, change, current, actor=act.actor, cause=cause, at=at)
            record_act(
                connection,
                act,
                action,
                target={"edit" if action == "undo_fact" else "generation": int(target)},
                changed={
                    "generation": made.number,
                    "switched_off": len(change.leaving),
                    "switched_on": len(change.on),
                    "kept_off": len(change.kept),
                },
                at=at,
            )
            return made

    @staticmethod
    def _expected_head(connection: Connection, act: Act) -> int:
        current = lock_head(connection).generation
        require_finished(connection)
        if current is None:
            raise NotInLedger("there is no generation yet")
        if act.expected_head is not None and act.expected_head != current:
            raise HeadMoved(
                f"generation {current} was published since generation {act.expected_head}: look again"
            )
        return current


def _rollback(number: int) -> _Plan:
    return lambda connection, current: plan_rollback(connection, number, current)


def _undo_generation(number: int) -> _Plan:
    return lambda connection, current: plan_undo_generation(connection, number, current)


def _undo_fact(edit_id: EditId, restore_previous: bool) -> _Plan:
    return lambda connection, _: plan_undo_fact(connection, edit_id, restore_previous=restore_previous)


def _kept(connection: Connection, change: Change) -> tuple[KeptOff, ...]:
    listed = change.kept[:MAX_LISTED]
    query = select(edits.c.id, edits.c.subject, edits.c.prompt, edits.c.target_new).where(
        edits.c.id.in_([edit.id for edit, _ in listed])
    )
    rows = {row.id: row for row in connection.execute(query)}
    return tuple(
        KeptOff(edit.id, edit.subject, rows[edit.id].prompt, rows[edit.id].target_new, why)
        for edit, why in listed
    )
