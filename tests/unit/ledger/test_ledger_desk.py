"""The smaller desks of the ledger: audit, outbox, jobs, checks, workers, housekeeping."""

from datetime import timedelta

import pytest
from support.ledger.ledger_backends import START, Clock, Story, event

from daemon.ledger import Ledger
from daemon.ledger.errors import ForbiddenMove, LeaseLost, NotInLedger
from daemon.ledger.records.checks import MAX_ATTEMPTS
from daemon.ledger.values import CheckResult, EditState, RejectedEdit


def test_facts_are_listed_by_subject_and_state_in_pages(story: Story) -> None:
    story.go_live(event("a", "A"), event("b", "B"))
    story.arrive(event("c", "A", relation="river", prompt="The river of A is"))
    audit = story.ledger.audit

    assert [edit.event_id for edit in audit.facts(subject="a")] == ["a", "c"]
    assert [edit.event_id for edit in audit.facts(subject="a", state=EditState.LIVE)] == ["a"]
    assert [edit.event_id for edit in audit.facts(limit=2, offset=1)] == ["b", "c"]
    counts = audit.counts()
    assert (counts[EditState.LIVE], counts[EditState.PENDING], counts[EditState.REJECTED]) == (2, 1, 0)
    assert set(counts) == set(EditState)
    with pytest.raises(NotInLedger, match="there is no edit 99"):
        audit.edit("99")


def test_a_history_tells_event_plan_batch_and_generation(story: Story) -> None:
    (edit,) = story.go_live(event("a"))

    reported = [
        (entry.to_state.value, entry.cause, dict(entry.detail))
        for entry in story.ledger.audit.history(edit.id)
    ]
    assert reported == [
        ("pending", "event accepted", {}),
        ("planned", "plan 1", {"batch_id": 1}),
        ("applying", "claimed by worker-1", {"batch_id": 1, "token": 1}),
        ("live", "batch 1", {"generation": 1}),
    ]


def test_an_outcome_is_told_until_it_is_confirmed(story: Story, clock: Clock) -> None:
    (edit,) = story.go_live(event("a", "Ångström"))
    outbox = story.ledger.outbox

    (row,) = outbox.unsent(10)
    assert row.key == "Ångström"
    assert row.payload == {
        "event_id": "a",
        "edit_id": edit.id,
        "state": "live",
        "generation": 1,
        "subject": "Ångström",
        "relation": "capital",
        "reason": None,
        "at": START.isoformat(),
    }
    assert outbox.unsent(10) == [row]
    outbox.mark_sent([row.id])
    outbox.mark_sent([])
    assert outbox.unsent(10) == []
    clock.advance(40 * 86400)
    assert story.ledger.control.housekeep(30).rows_deleted == 1


def test_one_slot_of_a_job_runs_once(ledger: Ledger, clock: Clock) -> None:
    jobs = ledger.jobs
    assert jobs.try_start("nightly", "2026-05-01T02:00Z")
    assert not jobs.try_start("nightly", "2026-05-01T02:00Z")
    assert jobs.try_start("nightly", "2026-05-02T02:00Z")
    assert jobs.last_success() == {}

    jobs.finished("nightly", "2026-05-01T02:00Z", True, "3 batches")
    clock.advance(5)
    jobs.finished("nightly", "2026-05-02T02:00Z", False, "x" * 5000)
    assert jobs.last_success() == {"nightly": START}

    clock.advance(40 * 86400)
    assert ledger.control.housekeep(30).rows_deleted == 2
    assert jobs.last_success() == {"nightly": START}


def test_a_check_is_asked_for_once_run_under_lease_and_kept(ledger: Ledger, clock: Clock) -> None:
    checks = ledger.checks
    everything = checks.request(None, "interval")
    assert checks.request(None, "again") == everything
    far = checks.request("far", "asked")

    first = checks.claim("worker-1", lease_seconds=60)
    assert first is not None
    assert (first.id, first.suite) == (everything, None)
    assert checks.request(None, "while it runs") == everything
    clock.advance(61)
    taken = checks.claim("worker-2", lease_seconds=60)
    assert taken is not None
    assert (taken.id, taken.token) == (everything, 2)

    result = CheckResult("far", 3, clock(), True, {"identical": 1.0, "kl": None}, 500)
    with pytest.raises(LeaseLost):
        checks.finish(first.id, first.token, [result])
    with pytest.raises(LeaseLost):
        checks.heartbeat(first.id, first.token, lease_seconds=60)
    checks.heartbeat(taken.id, taken.token, lease_seconds=60)
    checks.finish(taken.id, taken.token, [result])
    newer = CheckResult("far", 4, clock() + timedelta(seconds=1), False, {"identical": 0.5}, 500)
    last = checks.claim("worker-1", lease_seconds=60)
    assert last is not None
    assert (last.id, last.suite) == (far, "far")
    checks.finish(last.id, last.token, [newer])

    assert checks.latest() == [newer]
    assert checks.results(10) == [newer, result]
    assert checks.claim("worker-1", lease_seconds=60) is None
    assert checks.request(None, "next") > far


def test_a_check_that_cannot_be_run_is_closed_with_its_reason(ledger: Ledger, clock: Clock) -> None:
    checks = ledger.checks
    asked = checks.request(None, "interval")
    claimed = checks.claim("worker-1", lease_seconds=60)
    assert claimed is not None
    checks.fail(claimed.id, claimed.token, "BadSuite: the probe file is gone")

    assert checks.claim("worker-1", lease_seconds=60) is None
    assert checks.failure() == "BadSuite: the probe file is gone"
    assert checks.results(10) == []
    with pytest.raises(LeaseLost):
        checks.finish(claimed.id, claimed.token, [])
    clock.advance(1)
    assert checks.request(None, "interval") > asked
    again = checks.claim("worker-1", lease_seconds=60)
    assert again is not None
    checks.finish(again.id, again.token, [])
    assert checks.failure() is None


def test_a_check_that_ends_its_workers_is_given_up(ledger: Ledger, clock: Clock) -> None:
    ledger.checks.request(None, "interval")
    for _ in range(MAX_ATTEMPTS):
        assert ledger.checks.claim("worker-1", lease_seconds=60) is not None
        clock.advance(61)

    assert ledger.checks.claim("worker-1", lease_seconds=60) is None
    assert "died" in (ledger.checks.failure() or "")


def test_a_check_that_is_given_back_can_be_claimed_at_once_and_has_lost_no_attempt(ledger: Ledger) -> None:
    asked = ledger.checks.request(None, "by hand")
    for _ in range(MAX_ATTEMPTS + 1):
        claimed = ledger.checks.claim("by hand", lease_seconds=60)
        assert claimed is not None
        assert claimed.id == asked
        ledger.checks.release(claimed.id, claimed.token)
    assert claimed is not None
    with pytest.raises(LeaseLost):
        ledger.checks.release(claimed.id, claimed.token)


def test_an_edit_that_failed_tries_again_when_it_is_told_to(story: Story) -> None:
    (good, rejected, stuck) = story.arrive(event("a", "A"), event("b", "B"), event("c", "C"))
    story.plan([good, rejected], [stuck])
    batch = story.claim()
    story.publish(batch, live={good.id: "shard"}, rejected={rejected.id: RejectedEdit("does not hold")})
    batch = story.claim()
    story.ledger.batches.retry_later(batch.id, batch.token, reason="?", delay_seconds=0, max_attempts=1)
    assert [story.state(edit) for edit in (good, rejected, stuck)] == ["live", "rejected", "quarantined"]

    control = story.ledger.control
    assert control.retry_quarantined(cause="the disk has room again") == [stuck.id]
    control.retry(rejected.id, cause="by hand")
    with pytest.raises(ForbiddenMove, match="is live: only a rejected or quarantined edit can try again"):
        control.retry(good.id, cause="by hand")
    with pytest.raises(NotInLedger, match="there is no edit 99"):
        control.retry("99", cause="by hand")

    waiting = story.ledger.plans.pending(None, 10)
    assert [(edit.id, edit.batch_id, edit.attempts, edit.reason) for edit in waiting] == [
        (rejected.id, None, 0, None),
        (stuck.id, None, 0, None),
    ]
    assert story.ledger.audit.history(stuck.id)[-1].cause == "the disk has room again"
    story.plan(waiting)
    story.publish(story.claim())
    assert [story.state(edit) for edit in waiting] == ["live", "live"]


def test_workers_are_seen_until_they_end_or_housekeeping_forgets_them(ledger: Ledger, clock: Clock) -> None:
    ledger.control.workers_seen("w2", "cpu", None)
    ledger.control.workers_seen("w1", "cpu", None)
    ledger.control.workers_seen("w1", "cuda:0", 4)
    (first, second) = ledger.control.workers()
    assert (first.worker, first.device, first.batch_id, first.seen_at) == ("w1", "cuda:0", 4, START)
    assert second.worker == "w2"
    ledger.control.worker_ended("w2")
    ledger.control.worker_ended("never seen")
    assert [one.worker for one in ledger.control.workers()] == ["w1"]

    clock.advance(40 * 86400)
    ledger.control.housekeep(30)
    assert ledger.control.workers() == []
