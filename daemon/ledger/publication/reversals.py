"""Take things back by hand: see what would change, then do it; who did it and why goes into the audit log."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, select

from daemon.ledger.errors import ForbiddenMove, HeadMoved, NotInLedger
from daemon.ledger.page_values import MAX_LISTED, KeptOff, Preview
from daemon.ledger.publication.manifests import load_generations, merge_generations
from daemon.ledger.publication.pairs import fact_changes, pairs
from daemon.ledger.publication.rollback import (
    Change,
    Reached,
    carry_out,
    next_stop,
    plan_rollback,
    plan_undo_fact,
    plan_undo_generation,
)
from daemon.ledger.records.audit_log import record_act
from daemon.ledger.store.database import Database, lock_head
from daemon.ledger.store.rows import clip
from daemon.ledger.store.schema import edits, generations, head
from daemon.ledger.store.schema.columns import CAUSE_CHARS
from daemon.ledger.values import Act, Generation
from edits.ids import EditId

CHANGES_AT_ONCE = 1_000  # of a rollback's first step
LOCK_SECONDS = 0.25  # with the head's lock: what a rollback's step should take
# Between two steps on SQLite, whose writers do not queue: one that waits looks again every 0.1 seconds.
PAUSE_SECONDS = 0.12

_Plan = Callable[[Connection, int], Change]  # what would change, given the head's number


class Reversals:
    """Every action has a preview that computes the same; what changed in between is refused where it is asked for.

    Every action may raise:
        NotInLedger: there is no such edit or generation.
        ForbiddenMove: it cannot be taken back, or nothing of it is left.
        HeadMoved: another generation was published since `expected_head`.
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
            at_once: about how many changes the first transaction of a rollback undoes.
            lock_seconds: about how long each of the others should take.
        """
        self._at_once, self._lock_seconds = at_once, lock_seconds
        self._database = database
        self._clock = clock

    def preview_rollback(self, number: int) -> Preview:
        """What `rollback` would change."""
        return self._preview("rollback", number, _rollback(number))

    def rollback(self, number: int, act: Act, *, cause: str | None = None) -> Generation:
        """Answer as generation `number` did; the head itself where nothing differs.

        Many edits are taken back in several steps, each a generation (`next_stop`); the last one is told, with what all did.
        """
        cause = cause or f"rollback: {act.reason}"
        at_once, reached = self._at_once, None
        steps: list[Generation] = []
        while reached is None or reached.stop > number:
            if steps and self._database.is_sqlite:
                time.sleep(PAUSE_SECONDS)
            stop = self._next_stop(number, reached, at_once)
            begun = time.monotonic()
            made = self._act("rollback", number, _rollback(stop, reached), act, cause, may_be_empty=True)
            took = time.monotonic() - begun
            at_once = max(1, int(at_once * min(2.0, max(0.5, self._lock_seconds / took))))
            act = replace(act, expected_head=None)  # it was as expected
            reached = Reached(stop, made.number)
            steps.append(made)
        # A step that finds nothing to do gives the head, whoever published it.
        own = {step.number: step for step in steps if step.cause == clip(cause, CAUSE_CHARS)}
        return merge_generations(list(own.values())) if len(own) > 1 else steps[-1]

    def _next_stop(self, number: int, reached: Reached | None, at_once: int) -> int:
        with self._database.read() as connection:
            below = reached.stop if reached else connection.execute(select(head.c.generation)).scalar_one()
            return next_stop(connection, number, below=int(below or 0), at_once=at_once)

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
            current = lock_head(connection).generation
            if current is None:
                raise NotInLedger("there is no generation yet")
            if act.expected_head is not None and act.expected_head != current:
                raise HeadMoved(
                    f"generation {current} was published since generation {act.expected_head}: look again"
                )
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


def _rollback(number: int, reached: Reached | None = None) -> _Plan:
    return lambda connection, current: plan_rollback(connection, number, current, reached=reached)


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
