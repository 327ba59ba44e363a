"""Publishing and taking back: the newest fact wins whatever arrives last, and each step can be read again."""

from typing import Any

import pytest
from support.ledger.ledger_backends import Story, event

from daemon.events.fact_event import FactEvent
from daemon.ledger.errors import BaseChanged, ForbiddenMove, NotInLedger
from daemon.ledger.values import Act, Edit, Lane, RejectedEdit


def retract(event_id: str, day: int, subject: str = "Norland") -> FactEvent:
    return event(event_id, subject, op="retract", day=day)


def apply(story: Story, *facts: FactEvent, **changes: Any) -> list[Edit]:
    """Take events through one batch of their own; their edits as they stand afterwards."""
    edits = story.arrive(*facts)
    story.plan(edits, lane=Lane.URGENT)
    story.publish(story.claim(), **changes)
    return [story.ledger.audit.edit(edit.id) for edit in edits]


def live_events(story: Story) -> list[str]:
    assert story.ledger.generations.live() == story.ledger.generations.live_at(story.head())
    assert {edit.id for edit in story.ledger.generations.live_edits()} == set(story.ledger.generations.live())
    return [edit.event_id for edit in story.ledger.generations.live_edits()]


def test_generation_zero_is_made_once_and_belongs_to_one_base(story: Story) -> None:
    zero = story.ledger.generations.start("base")
    assert (zero.number, zero.parent, zero.enabled) == (0, None, {})
    assert story.ledger.generations.head() == zero
    with pytest.raises(BaseChanged, match="start a new ledger"):
        story.ledger.generations.start("another base")


def test_a_generation_says_what_it_changed_and_can_be_followed(story: Story) -> None:
    (first,) = apply(story, event("a", day=1))
    (second,) = apply(story, event("b", day=2))
    generations = story.ledger.generations

    one, two = generations.since(0)
    assert (one.number, one.parent, one.shards) == (1, 0, ("shard-1",))
    assert one.enabled == {first.id: "shard-1"}
    assert (two.enabled, two.disabled) == ({second.id: "shard-2"}, (first.id,))
    assert two.scores == {"reliability": 1.0}
    assert generations.head() == two == generations.get(2)
    assert generations.live_at(0) == {}
    assert generations.live_at(1) == {first.id: "shard-1"}
    assert generations.live() == {second.id: "shard-2"}
    first = story.ledger.audit.edit(first.id)
    assert (first.state, first.superseded_by, first.generation) == ("superseded", second.id, 1)
    for ask in (generations.get, generations.live_at):
        with pytest.raises(NotInLedger, match="there is no generation 3"):
            ask(3)


def test_an_older_fact_that_arrives_late_does_not_replace_a_live_one(story: Story) -> None:
    (new,) = apply(story, event("new", day=5))
    (late,) = apply(story, event("late", day=3))

    assert (late.state, late.superseded_by, late.generation) == ("superseded", new.id, None)
    assert live_events(story) == ["new"]
    assert story.head() == 1


def test_of_two_facts_of_one_moment_the_later_record_wins(story: Story) -> None:
    apply(story, event("a", day=1), event("b", day=1))
    assert live_events(story) == ["b"]
    apply(story, event("c", day=1))
    assert live_events(story) == ["c"]


def test_the_same_prompt_is_the_same_fact_though_the_relation_is_named_otherwise(story: Story) -> None:
    apply(story, event("a", day=1))
    apply(story, event("b", day=2, relation="seat of government"))

    assert live_events(story) == ["b"]


def test_two_edits_of_one_fact_in_one_batch_leave_the_newer_one_live(story: Story) -> None:
    newer, older = apply(story, event("newer", day=9), event("older", day=8))

    assert (newer.state, older.state, older.superseded_by) == ("live", "superseded", newer.id)
    assert story.ledger.generations.get(1).enabled == {newer.id: "shard-1"}


def test_a_retraction_takes_back_what_is_older_wherever_it_stands(story: Story) -> None:
    (live,) = apply(story, event("live", day=1))
    planned, pending, newer = story.arrive(
        event("planned", day=2), event("pending", day=3), event("newer", day=9)
    )
    story.plan([planned])
    (retraction,) = apply(story, retract("gone", day=5), live={})

    states = [story.state(edit) for edit in (live, planned, pending, newer, retraction)]
    assert states == ["retracted", "retracted", "retracted", "pending", "retracted"]
    assert live_events(story) == []
    assert story.ledger.generations.get(2).disabled == (live.id,)


def test_a_retraction_in_force_catches_older_facts_that_arrive_later(story: Story) -> None:
    (retraction,) = apply(story, retract("gone", day=5), live={})
    (late,) = apply(story, event("late", day=4))
    assert (late.state, late.superseded_by) == ("superseded", retraction.id)
    assert live_events(story) == []

    apply(story, event("newer", day=6))
    assert live_events(story) == ["newer"]
    apply(story, event("later still, but older", day=3))
    assert live_events(story) == ["newer"]


def test_a_retraction_older_than_the_live_fact_is_superseded(story: Story) -> None:
    (live,) = apply(story, event("live", day=5))
    (late,) = apply(story, retract("gone", day=4), live={})

    assert (late.state, late.superseded_by) == ("superseded", live.id)
    assert live_events(story) == ["live"]


def test_an_assertion_and_its_retraction_in_one_batch_follow_their_times(story: Story) -> None:
    before, gone, after = apply(story, event("before", day=1), retract("gone", day=2), event("after", day=3))

    assert [edit.state for edit in (before, gone, after)] == ["superseded", "superseded", "live"]


def test_an_edit_that_lost_displaces_nobody(story: Story) -> None:
    # c and a share only b as a rival: b loses to c, so a stays.
    prompt = "Norland is ruled from"
    apply(story, event("a", day=1))
    apply(story, event("b", day=2, prompt=prompt), event("c", day=3, prompt=prompt, relation="seat"))

    assert live_events(story) == ["a", "c"]


def test_a_rejected_edit_leaves_the_older_value_live(story: Story) -> None:
    (old,) = apply(story, event("old", day=1))
    edits = story.arrive(event("new", day=2))
    story.plan(edits)
    rejected = {edits[0].id: RejectedEdit("reliability 0 under 0.98", {"reliability": 0.0})}
    assert story.publish(story.claim(), live={}, rejected=rejected) is None

    assert live_events(story) == ["old"]
    assert story.ledger.audit.edit(edits[0].id).reason == "reliability 0 under 0.98"
    last = story.ledger.audit.history(edits[0].id)[-1]
    assert last.detail["scores"] == {"reliability": 0.0}
    reported = [
        (row.key, row.payload["event_id"], row.payload["state"]) for row in story.ledger.outbox.unsent(9)
    ]
    assert reported == [("Norland", "old", "live"), ("Norland", "new", "rejected")]
    assert story.state(old) == "live"


def test_an_edit_taken_back_leaves_the_base_to_answer(story: Story) -> None:
    (old,) = apply(story, event("old", day=1))
    (new,) = apply(story, event("new", day=2))
    made = story.ledger.reversals.undo_fact(new.id, Act("test", "asked by Ada"))
    cause = f"undo of edit {new.id}: asked by Ada"

    assert (made.number, made.disabled, made.enabled, made.cause) == (3, (new.id,), {}, cause)
    assert live_events(story) == []
    assert (story.state(old), story.state(new)) == ("superseded", "retracted")
    assert story.ledger.outbox.unsent(99)[-1].payload["reason"] == f"rolled back: {cause}"
    with pytest.raises(ForbiddenMove, match="only a live edit"):
        story.ledger.reversals.undo_fact(new.id, Act("test", "again"))
    with pytest.raises(NotInLedger, match="there is no edit 99"):
        story.ledger.reversals.undo_fact("99", Act("test", "x"))


def test_the_previous_value_comes_back_only_when_asked_for(story: Story) -> None:
    (old,) = apply(story, event("old", day=1))
    (new,) = apply(story, event("new", day=2))
    made = story.ledger.reversals.undo_fact(new.id, Act("test", "x"), restore_previous=True)

    assert (made.disabled, made.enabled) == ((new.id,), {old.id: "shard-1"})
    assert live_events(story) == ["old"]
    assert story.ledger.audit.edit(old.id).superseded_by is None


def test_the_previous_value_stays_away_where_a_retraction_lies_between(story: Story) -> None:
    apply(story, event("old", day=1))
    (new,) = apply(story, event("new", day=5))
    apply(story, retract("gone", day=3), live={})
    story.ledger.reversals.undo_fact(new.id, Act("test", "x"), restore_previous=True)

    assert live_events(story) == []


def test_a_rollback_to_a_generation_has_its_live_set_and_is_a_new_one(story: Story) -> None:
    apply(story, event("a1", "A", day=1), event("b1", "B", day=1), event("c1", "C", day=1))
    then = story.ledger.generations.live()
    apply(story, event("a2", "A", day=2), event("d1", "D", day=2))
    apply(story, retract("b gone", 3, "B"), live={})
    made = story.ledger.generations.rollback_to(1, cause="locality fell")

    assert (made.number, made.parent, made.shards) == (4, 3, ())
    assert story.ledger.generations.live() == then
    assert live_events(story) == ["a1", "b1", "c1"]
    states = {edit.event_id: edit.state for edit in story.ledger.audit.facts()}
    assert (states["a2"], states["d1"], states["b gone"]) == ("retracted", "retracted", "retracted")

    assert story.ledger.generations.rollback_to(1, cause="again") == made
    story.ledger.generations.rollback_to(2, cause="it was not the edits")
    assert live_events(story) == ["b1", "c1", "a2", "d1"]
    assert story.ledger.generations.rollback_to(0, cause="all").disabled
    assert live_events(story) == []
    with pytest.raises(NotInLedger, match="there is no generation 77"):
        story.ledger.generations.rollback_to(77, cause="x")


def test_after_a_rollback_newer_facts_still_win_by_their_time(story: Story) -> None:
    apply(story, event("a1", day=10))
    apply(story, event("a2", day=20))
    story.ledger.generations.rollback_to(1, cause="x")
    apply(story, event("older", day=5))
    assert live_events(story) == ["a1"]
    apply(story, event("between", day=15))
    assert live_events(story) == ["between"]


def test_an_edit_that_asks_the_same_in_other_words_is_a_rival_whichever_comes_last(story: Story) -> None:
    (old,) = apply(story, event("a", day=1, relation="capital"))
    words: dict[str, Any] = {"relation": None, "prompt": "What is Norland's capital?"}
    (new,) = story.arrive(event("b", day=2, **words))
    story.plan([new], lane=Lane.URGENT)
    story.publish(story.claim(), same={new.id: [old.id]})
    assert (story.state(old), story.state(new)) == ("superseded", "live")

    (late,) = story.arrive(event("c", day=1, relation=None, prompt="Norland is ruled from"))
    story.plan([late], lane=Lane.URGENT)
    story.publish(story.claim(), same={late.id: [new.id]})
    assert (story.state(new), story.state(late)) == ("live", "superseded")
    assert live_events(story) == ["b"]
