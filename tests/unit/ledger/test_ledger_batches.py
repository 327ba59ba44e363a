"""Plans, claims and leases: one worker at a time, and nobody with an old token."""

from dataclasses import replace

import pytest
from support.ledger.ledger_backends import Clock, Story, event

from daemon.ledger import Ledger
from daemon.ledger.errors import HeadMoved, LeaseLost, NotInLedger
from daemon.ledger.values import EditState, Lane, Plan, PlannedBatch, Supersession


def test_a_plan_is_stored_as_it_was_put_to_work(story: Story) -> None:
    old, new, other = story.arrive(event("a", day=1), event("b", day=2), event("c", "Other"))
    plan = Plan(
        Lane.BATCH,
        7,
        (PlannedBatch(0, Lane.BATCH, "scen", (new.id, other.id), "two facts"),),
        (Supersession(old.id, new.id),),
        {"clusters": [[new.id, other.id]]},
    )
    number = story.ledger.plans.store(plan)

    assert story.ledger.plans.get(number) == plan
    assert [stored.id for stored in story.ledger.plans.latest(5)] == [number]
    assert [story.state(edit) for edit in (old, new, other)] == ["superseded", "planned", "planned"]
    assert story.ledger.audit.edit(old.id).superseded_by == new.id
    with pytest.raises(NotInLedger, match="there is no plan 99"):
        story.ledger.plans.get(99)


def test_edits_that_moved_while_a_plan_was_made_are_left_out_of_it(story: Story) -> None:
    first, second, third = story.arrive(*(event(name, name) for name in "abc"))
    story.plan([first, third])
    number = story.plan([first, second], [third])

    assert [batch.edit_ids for batch in story.ledger.plans.get(number).batches] == [(second.id,)]


def test_a_loser_whose_winner_failed_meanwhile_waits_for_the_next_plan(story: Story) -> None:
    old, new = story.arrive(event("a", day=1), event("b", day=2))
    story.plan([new])
    batch = story.claim()
    story.ledger.batches.retry_later(batch.id, batch.token, reason="x", delay_seconds=0, max_attempts=1)
    story.ledger.plans.store(Plan(None, 0, (), (Supersession(old.id, new.id),)))

    assert [story.state(edit) for edit in (old, new)] == ["pending", "quarantined"]


def test_an_edit_that_stands_twice_in_a_plan_is_refused(story: Story) -> None:
    (edit,) = story.arrive(event("a"))
    with pytest.raises(ValueError, match="twice"):
        story.plan([edit], [edit])


def test_rivals_share_the_fact_or_the_prompt(story: Story) -> None:
    prompt = {"prompt": "The capital of Norland is"}
    live = story.go_live(event("live"))
    fact, worded, _ = story.arrive(
        event("fact", prompt="Norland is ruled from"),
        event("worded", relation="seat", **prompt),
        event("else", "Other"),
    )
    asked = story.arrive(event("asked"))

    assert [edit.id for edit in story.ledger.plans.rivals(asked)] == [live[0].id, fact.id, worded.id]


def test_urgent_batches_are_claimed_first_then_plans_in_order(story: Story) -> None:
    a, b, c, d = story.arrive(*(event(name, name) for name in "abcd"))
    story.plan([a], [b])
    story.plan([c])
    story.plan([d], lane=Lane.URGENT)

    assert [story.claim().edits[0].event_id for _ in range(4)] == ["d", "a", "b", "c"]
    assert story.ledger.batches.claim("worker-2", lease_seconds=60) is None


def test_a_claimed_batch_belongs_to_one_worker_until_its_lease_runs_out(story: Story, clock: Clock) -> None:
    edits = story.arrive(event("a"), event("b", "Other"))
    story.plan(edits)
    first = story.claim()
    assert (first.token, first.attempts, first.edits[0].state) == (1, 1, EditState.APPLYING)

    clock.advance(50)
    story.ledger.batches.heartbeat(first.id, first.token, lease_seconds=60)
    clock.advance(50)
    assert story.ledger.batches.claim("worker-2", lease_seconds=60) is None
    clock.advance(10)
    second = story.claim(worker="worker-2")

    assert (second.id, second.token, second.attempts) == (first.id, 2, 2)
    assert [edit.attempts for edit in second.edits] == [2, 2]
    moves = [entry.to_state for entry in story.ledger.audit.history(edits[0].id)]
    assert moves == ["pending", "planned", "applying", "planned", "applying"]


def test_a_worker_that_lost_its_lease_can_change_nothing(story: Story, clock: Clock) -> None:
    edits = story.arrive(event("a"), event("b", "Other"))
    story.plan(edits)
    stale = story.claim()
    clock.advance(61)
    current = story.claim(worker="worker-2")
    batches = story.ledger.batches
    before = [story.ledger.audit.history(edit.id) for edit in edits]

    for word in (
        lambda: batches.heartbeat(stale.id, stale.token, lease_seconds=60),
        lambda: batches.retry_later(stale.id, stale.token, reason="x", delay_seconds=0, max_attempts=1),
        lambda: batches.split(stale.id, stale.token, [[edits[0].id], [edits[1].id]], reason="x"),
        lambda: story.publish(stale),
    ):
        with pytest.raises(LeaseLost):
            word()

    assert [story.ledger.audit.history(edit.id) for edit in edits] == before
    assert story.publish(current) is not None
    with pytest.raises(LeaseLost):
        story.publish(current)  # its answer was lost and it asks again: once is enough


def test_a_lease_that_ran_out_but_was_taken_by_nobody_still_counts(story: Story, clock: Clock) -> None:
    story.plan(story.arrive(event("a")))
    batch = story.claim()
    clock.advance(1000)
    story.ledger.batches.heartbeat(batch.id, batch.token, lease_seconds=60)

    assert story.publish(batch) is not None


def test_a_batch_given_back_waits_and_is_quarantined_after_too_many_attempts(
    story: Story, clock: Clock
) -> None:
    (edit,) = story.arrive(event("a"))
    story.plan([edit])
    for attempt in (1, 2):
        batch = story.claim()
        assert batch.attempts == attempt
        story.ledger.batches.retry_later(
            batch.id, batch.token, reason="device busy", delay_seconds=30, max_attempts=3
        )
        assert story.state(edit) == "planned"
        assert story.ledger.batches.claim("worker-1", lease_seconds=60) is None
        clock.advance(30)
    batch = story.claim()
    story.ledger.batches.retry_later(
        batch.id, batch.token, reason="device busy", delay_seconds=30, max_attempts=3
    )
    clock.advance(1000)

    assert story.ledger.audit.edit(edit.id).state is EditState.QUARANTINED
    assert story.ledger.audit.edit(edit.id).reason == "gave up after 3 attempts: device busy"
    assert story.ledger.batches.claim("worker-1", lease_seconds=60) is None
    (reported,) = story.ledger.outbox.unsent(10)
    assert reported.payload["state"] == "quarantined"


def test_a_batch_given_back_without_blame_is_tried_for_as_long_as_it_takes(
    story: Story, clock: Clock
) -> None:
    (edit,) = story.arrive(event("a"))
    story.plan([edit])
    for _ in range(10):
        batch = story.claim()
        assert batch.attempts == 1
        story.ledger.batches.retry_later(
            batch.id, batch.token, reason="disk full", delay_seconds=30, max_attempts=None
        )
        clock.advance(30)

    assert story.state(edit) == "planned"


def test_a_split_batch_goes_on_as_smaller_ones_before_all_else_in_its_lane(story: Story) -> None:
    a, b, c, d = story.arrive(*(event(name, name) for name in "abcd"))
    story.plan([a, b, c], [d])
    batch = story.claim()
    for parts in ([[a.id], [b.id]], [[a.id, b.id, c.id]], [[a.id, b.id], [c.id], []], [[a.id, d.id], [b.id]]):
        with pytest.raises(ValueError, match="the parts"):
            story.ledger.batches.split(batch.id, batch.token, parts, reason="x")
    made = story.ledger.batches.split(batch.id, batch.token, [[a.id], [b.id, c.id]], reason="locality")

    claimed = [story.claim() for _ in range(3)]
    assert [batch.id for batch in claimed[:2]] == made
    assert [[edit.event_id for edit in batch.edits] for batch in claimed] == [["a"], ["b", "c"], ["d"]]
    assert {(batch.attempts, batch.plan_id) for batch in claimed} == {(1, batch.plan_id)}


def test_a_hold_stops_claims_but_not_what_is_in_work(story: Story) -> None:
    story.plan(*([edit] for edit in story.arrive(event("a"), event("b", "Other"))))
    batch = story.claim()
    story.ledger.control.hold("locality under its floor")

    assert story.ledger.control.held() == "locality under its floor"
    assert story.ledger.batches.claim("worker-2", lease_seconds=60) is None
    assert story.publish(batch) is not None
    story.ledger.control.release()
    assert story.ledger.control.held() is None
    assert story.claim()


def test_a_batch_whose_edits_were_all_retracted_is_passed_over(story: Story) -> None:
    old, other = story.arrive(event("old", day=1), event("other", "Other"))
    story.plan([old], [other])
    (retraction,) = story.arrive(event("gone", op="retract", day=2))
    story.plan([retraction], lane=Lane.URGENT)
    assert story.publish(story.claim(), live={}) is None

    assert story.state(old) == "retracted"
    assert [edit.id for edit in story.claim().edits] == [other.id]


def test_housekeeping_frees_what_a_dead_worker_held(story: Story, clock: Clock) -> None:
    (edit,) = story.arrive(event("a"))
    story.plan([edit])
    dead = story.claim()
    assert story.ledger.control.housekeep(30).leases_returned == 0
    clock.advance(61)

    assert story.ledger.control.housekeep(30).leases_returned == 1
    assert story.state(edit) == "planned"
    with pytest.raises(LeaseLost):
        story.publish(dead)
    assert story.claim().token == dead.token + 1


def test_a_candidate_verified_against_another_head_is_not_published(story: Story) -> None:
    first, second = story.arrive(event("a"), event("b", "Other"))
    story.plan([first], [second])
    one, two = story.claim(), story.claim()
    seen = story.head()
    story.publish(one, expected_head=seen)

    with pytest.raises(HeadMoved, match="the head is generation 1, not 0"):
        story.publish(two, expected_head=seen)
    assert story.state(second) == "applying"
    assert story.publish(two, expected_head=1) is not None


def test_every_assertion_needs_a_verdict_and_no_stranger_gets_one(story: Story, ledger: Ledger) -> None:
    first, second = story.arrive(event("a"), event("b", "Other"))
    story.plan([first, second])
    batch = story.claim()

    for live in ({first.id: "s"}, {first.id: "s", second.id: "s", "99": "s"}):
        with pytest.raises(ValueError, match=f"batch {batch.id}"):
            story.publish(batch, live=live)
    with pytest.raises(LeaseLost):
        story.publish(replace(batch, token=batch.token + 1))
