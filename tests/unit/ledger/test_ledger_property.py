"""Whatever is done to a ledger in whatever order: one state each, a whole history, one live edit per fact."""

import atexit
import contextlib
import functools
import shutil
import sqlite3
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.ledger.ledger_backends import Clock, Story, database_of, event, record
from support.ledger.ledger_invariants import age, check_invariants

from daemon.ledger import Ledger, open_ledger
from daemon.ledger.errors import ForbiddenMove, HeadMoved, LeaseLost
from daemon.ledger.publication.reversals import Reversals
from daemon.ledger.values import (
    Act,
    Blamed,
    ClaimedBatch,
    ConsumedRecord,
    EditState,
    Lane,
    Plan,
    PlannedBatch,
    RejectedEdit,
)

FAILED = {EditState.REJECTED, EditState.QUARANTINED}
OPEN = {EditState.PENDING, EditState.PLANNED, EditState.APPLYING}


@functools.cache
def template() -> Path:
    path = Path(tempfile.mkdtemp(prefix="upkeep-ledger-")) / "template.db"
    atexit.register(shutil.rmtree, path.parent)
    with open_ledger(f"sqlite:///{path}") as ledger:
        ledger.migrate()
    return path


class LedgerMachine(RuleBasedStateMachine):
    """Random work on one ledger; every rule is something that a role of the daemon does."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp(prefix="upkeep-ledger-")
        shutil.copy(template(), f"{self.folder}/ledger.db")
        self.clock = Clock()
        self.ledger = open_ledger(f"sqlite:///{self.folder}/ledger.db", clock=self.clock)
        self.story = Story(self.ledger, self.clock)
        self.records: list[ConsumedRecord] = []
        self.claimed: list[ClaimedBatch] = []
        self.rolled_back = False

    @rule(
        subject=st.sampled_from(["Norland", "Sudland"]),
        relation=st.sampled_from(["capital", "seat"]),
        wording=st.sampled_from(["{} is ruled from", "The capital of {} is"]),
        day=st.integers(0, 5),
        op=st.sampled_from(["assert", "assert", "assert", "retract"]),
    )
    def arrive(self, subject: str, relation: str, wording: str, day: int, op: str) -> None:
        number = len(self.records)
        fact = event(f"e{number}", subject, relation=relation, prompt=wording.format(subject), day=day, op=op)
        self.records.append(record(fact, number))
        self.ledger.intake.record(self.records[-1:])

    @rule(subject=st.sampled_from(["Norland", "Sudland"]), day=st.integers(0, 5))
    def go_all_the_way(self, subject: str, day: int) -> None:
        """Much of what can be taken back needs several generations of one fact."""
        self.arrive(subject, "capital", "The capital of {} is", day, "assert")
        self.plan(3, True)
        while (batch := self.ledger.batches.claim("worker", lease_seconds=60)) is not None:
            self.story.publish(batch)

    @precondition(lambda self: self.records)
    @rule()
    def deliver_all_again(self) -> None:
        assert self.ledger.intake.record(self.records).redelivered == len(self.records)

    @rule(size=st.integers(1, 3), urgent=st.booleans())
    def plan(self, size: int, urgent: bool) -> None:
        waiting = self.ledger.plans.pending(None, 100)
        lane = Lane.URGENT if urgent else Lane.BATCH
        self.ledger.plans.store(
            Plan(
                lane,
                0,
                tuple(
                    PlannedBatch(n, lane, "scen", tuple(e.id for e in waiting[n : n + size]), "test")
                    for n in range(0, len(waiting), size)
                ),
            )
        )

    @rule()
    def claim(self) -> None:
        batch = self.ledger.batches.claim("worker", lease_seconds=60)
        if batch is not None:
            self.claimed.append(batch)

    @precondition(lambda self: self.claimed)
    @rule(data=st.data())
    def publish(self, data: st.DataObject) -> None:
        batch = data.draw(st.sampled_from(self.claimed))
        asserts = [edit.id for edit in batch.edits if edit.op == "assert"]
        rejected = data.draw(st.sets(st.sampled_from(asserts))) if asserts else set()
        stale_head = data.draw(st.integers(0, 3)) == 0
        try:
            self.story.publish(
                batch,
                expected_head=0 if stale_head else self.story.head(),
                live={i: f"shard-{batch.id}" for i in asserts if i not in rejected},
                rejected={i: RejectedEdit("does not hold") for i in rejected},
            )
        except HeadMoved:
            assert stale_head
        except LeaseLost:
            self.claimed.remove(batch)
        else:
            self.claimed.remove(batch)

    @precondition(lambda self: self.claimed)
    @rule(data=st.data(), attempts=st.integers(1, 3))
    def give_back(self, data: st.DataObject, attempts: int) -> None:
        batch = data.draw(st.sampled_from(self.claimed))
        self.claimed.remove(batch)
        with contextlib.suppress(LeaseLost):
            self.ledger.batches.retry_later(
                batch.id, batch.token, reason="busy", delay_seconds=30, max_attempts=attempts
            )

    @precondition(lambda self: any(len(batch.edits) > 1 for batch in self.claimed))
    @rule()
    def split(self) -> None:
        batch = next(batch for batch in self.claimed if len(batch.edits) > 1)
        self.claimed.remove(batch)
        first, *rest = [edit.id for edit in batch.edits]
        with contextlib.suppress(LeaseLost):
            self.ledger.batches.split(batch.id, batch.token, [[first], rest], reason="locality")

    @rule(seconds=st.sampled_from([1, 40, 100]))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule(data=st.data())
    def try_again(self, data: st.DataObject) -> None:
        failed = [e.id for e in self.ledger.audit.facts() if e.state in FAILED]
        if failed:
            self.ledger.control.retry(data.draw(st.sampled_from(failed)), cause="by hand")

    @rule()
    def try_all_quarantined_again(self) -> None:
        self.ledger.control.retry_quarantined(cause="by hand")

    @rule()
    def housekeep(self) -> None:
        self.ledger.control.housekeep(30)

    @rule(data=st.data(), restore=st.booleans())
    def take_one_back(self, data: st.DataObject, restore: bool) -> None:
        live = self.ledger.generations.live_edits()
        if live:
            edit = data.draw(st.sampled_from([edit.id for edit in live]))
            self.ledger.reversals.undo_fact(edit, Act("test", "test"), restore_previous=restore)
            self.rolled_back = True

    @rule(data=st.data())
    def blame(self, data: st.DataObject) -> None:
        live = [edit.id for edit in self.ledger.generations.live_edits()]
        if live:
            culprit = data.draw(st.sampled_from(live))
            self.ledger.generations.settle_blame(
                {culprit: Blamed("it did it")}, cleared=(), rolled_back=None, cause="test"
            )

    @rule(data=st.data())
    def undo_a_generation(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(0, self.story.head()))
        with contextlib.suppress(ForbiddenMove):  # nothing of it is left
            self.ledger.reversals.undo_generation(number, Act("test", "test"))
        self.rolled_back = True

    @rule(data=st.data(), at_once=st.integers(0, 3))
    def take_all_back(self, data: st.DataObject, at_once: int) -> None:
        """By reference and step by step it answers, at once and ever after, as it would in one transaction."""
        number, before = data.draw(st.integers(0, self.story.head())), self.story.head()
        other = data.draw(st.integers(0, before))
        wanted, standing = self._in_one_transaction(number)
        reversals = Reversals(database_of(self.ledger), self.clock, at_once=at_once, lock_seconds=0)
        made = reversals.rollback(number, Act("test", "test")).number
        self._answers(made, wanted, other)
        while reversals.finish(seconds=0):
            self._answers(made, wanted, other)
        assert self._standing(self.ledger) == standing
        assert made == before or len(self.ledger.generations.since(before)) == 1
        self.rolled_back = True

    def _in_one_transaction(self, number: int) -> tuple[dict[str, str], object]:
        """The live edits after a rollback in a copy of the ledger, and how all edits stand then."""
        copied = f"{self.folder}/copy.db"
        own, other = sqlite3.connect(f"{self.folder}/ledger.db"), sqlite3.connect(copied)
        with contextlib.closing(own), contextlib.closing(other):
            own.backup(other)
        with open_ledger(f"sqlite:///{copied}", clock=self.clock) as ledger:
            ledger.generations.rollback_to(number, cause="test")
            assert ledger.reversals.unfinished() is None
            return ledger.generations.live(), self._standing(ledger)

    def _standing(self, ledger: Ledger) -> object:
        return [(e.id, e.state, e.generation, e.superseded_by) for e in ledger.audit.facts()]

    def _answers(self, number: int, wanted: dict[str, str], other: int) -> None:
        generations = self.ledger.generations
        assert generations.live() == generations.live_at(number) == wanted
        every = [edit.id for edit in self.ledger.audit.facts()]
        assert generations.shards_at(number, every) == wanted
        for before, after in ((number, other), (other, number)):
            enabled, disabled = generations.changes_between(before, after)
            followed = {i: s for i, s in generations.live_at(before).items() if i not in disabled} | enabled
            assert followed == generations.live_at(after)

    @invariant()
    def everything_is_whole(self) -> None:
        check_invariants(self.ledger)
        if not self.rolled_back:
            self._nothing_older_than_its_retraction_is_live()

    def teardown(self) -> None:
        """However it stands, the work can be finished: no edit is stuck."""
        self.clock.advance(1000)
        self.plan(3, False)
        while (batch := self.ledger.batches.claim("last", lease_seconds=60)) is not None:
            self.story.publish(batch)
        assert not [edit for edit in self.ledger.audit.facts() if edit.state in OPEN]
        self.everything_is_whole()
        self.ledger.close()
        shutil.rmtree(self.folder)

    def _nothing_older_than_its_retraction_is_live(self) -> None:
        found = self.ledger.audit.facts()
        in_force = [e for e in found if e.op == "retract" and e.state is EditState.RETRACTED]
        for edit in found:
            if edit.state is EditState.LIVE:
                rivals = [
                    e for e in in_force if edit.fact_key == e.fact_key or edit.prompt_key == e.prompt_key
                ]
                assert all(age(rival) < age(edit) for rival in rivals)


TestAnyOrderOfWork = LedgerMachine.TestCase
TestAnyOrderOfWork.settings = settings(
    max_examples=20,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
