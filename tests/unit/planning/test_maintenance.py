"""A maintenance cycle on a real ledger: what is planned, what is superseded, what a dry run leaves alone."""

from pathlib import Path

import pytest
from support.ledger.ledger_backends import Story, event

from daemon.ledger.values import Act, EditState, Lane
from daemon.planning.cycle import draft_cycle, plan_cycle
from daemon.settings.settings import Settings
from daemon.settings.tables import PlanningSettings

BOTH = (Lane.URGENT, Lane.BATCH)


@pytest.fixture
def url(tmp_path: Path, migrated_sqlite: Path) -> str:
    """SQLite alone: the ledger's own tests show that both databases act alike."""
    (tmp_path / "ledger.db").write_bytes(migrated_sqlite.read_bytes())
    return f"sqlite:///{tmp_path / 'ledger.db'}"


def settings(**planner: object) -> Settings:
    return Settings(planner=PlanningSettings.model_validate(planner))


def test_pending_edits_become_bounded_batches_and_losers_are_superseded(story: Story) -> None:
    edits = story.arrive(
        *(event(f"e{number}", f"Land{number}") for number in range(20)),
        event("late", "Land3", "Old", day=0),
        event("new", "Land5", "New", day=9),
    )
    plan = plan_cycle(story.ledger, settings(batch_size=8), lanes=BOTH)
    assert plan is not None
    assert plan.id is not None
    planned = [edit for batch in plan.batches for edit in batch.edit_ids]
    assert max(len(batch.edit_ids) for batch in plan.batches) <= 8
    assert len(planned) == len(set(planned)) == 20
    states = {edit.event_id: story.state(edit) for edit in edits}
    assert states["late"] == states["e5"] == "superseded"
    assert set(states.values()) == {"planned", "superseded"}
    winner = next(edit for edit in edits if edit.event_id == "new")
    loser = next(edit for edit in edits if edit.event_id == "e5")
    assert story.ledger.audit.edit(loser.id).superseded_by == winner.id


def test_a_dry_run_gives_the_same_plan_and_changes_nothing(story: Story) -> None:
    story.arrive(*(event(f"e{number}", f"Land{number}") for number in range(9)), event("x", "Land1", day=5))
    before = story.ledger.audit.counts()
    cycle = draft_cycle(story.ledger, settings(batch_size=4), lanes=BOTH)
    assert cycle is not None
    dry = cycle.plan
    assert dry.id is None
    assert story.ledger.audit.counts() == before
    assert story.ledger.plans.latest(5) == []
    wet = plan_cycle(story.ledger, settings(batch_size=4), lanes=BOTH)
    assert wet is not None
    assert (wet.batches, wet.superseded) == (dry.batches, dry.superseded)
    assert wet.explanation == dry.explanation


def test_the_urgent_cycle_takes_urgent_edits_only(story: Story) -> None:
    edits = story.arrive(event("slow", "Land1"), event("fast", "Land2", priority="urgent"))
    plan = plan_cycle(story.ledger, settings(), lanes=(Lane.URGENT,))
    assert plan is not None
    assert [(batch.lane, batch.editor) for batch in plan.batches] == [(Lane.URGENT, "scen")]
    assert {edit.event_id: story.state(edit) for edit in edits} == {"slow": "pending", "fast": "planned"}


def test_nothing_pending_makes_no_plan(story: Story) -> None:
    assert plan_cycle(story.ledger, settings(), lanes=BOTH) is None
    assert story.ledger.plans.latest(1) == []


def test_an_edit_that_comes_too_late_loses_to_what_is_live(story: Story) -> None:
    (live,) = story.go_live(event("now", day=5))
    (late,) = story.arrive(event("late", target="Old", day=1))
    plan = plan_cycle(story.ledger, settings(), lanes=BOTH)
    assert plan is not None
    assert plan.batches == ()
    assert story.ledger.audit.edit(late.id).superseded_by == live.id


def test_an_edit_older_than_a_retraction_in_force_stays_out(story: Story) -> None:
    story.go_live(event("one", day=1))
    (retraction,) = story.arrive(event("gone", op="retract", day=5))
    plan = plan_cycle(story.ledger, settings(), lanes=BOTH)
    assert plan is not None
    assert [batch.editor for batch in plan.batches] == [None]
    story.publish(story.claim())
    assert story.ledger.audit.edit(retraction.id).state is EditState.RETRACTED
    (late,) = story.arrive(event("late", day=3))
    plan_cycle(story.ledger, settings(), lanes=BOTH)
    assert story.state(late) == "superseded"


def test_a_value_that_was_rolled_back_is_no_rival(story: Story) -> None:
    (bad,) = story.go_live(event("bad", day=5))
    story.ledger.reversals.undo_fact(bad.id, Act("test", "operator"))
    (older,) = story.arrive(event("older", day=3))
    plan_cycle(story.ledger, settings(), lanes=BOTH)
    assert story.state(older) == "planned"


def test_an_urgent_edit_does_not_wait_for_a_newer_one_of_the_nightly_lane(story: Story) -> None:
    urgent, _ = story.arrive(event("fast", day=1, priority="urgent"), event("slow", day=2))
    plan_cycle(story.ledger, settings(), lanes=(Lane.URGENT,))
    assert story.state(urgent) == "planned"
    story.publish(story.claim())
    plan_cycle(story.ledger, settings(), lanes=BOTH)
    story.publish(story.claim())
    assert story.state(urgent) == "superseded"


def test_a_long_history_that_arrives_at_once_in_any_order_leaves_one_edit_to_train(story: Story) -> None:
    days = [-77_000 + 40 * number for number in range(1_200)]  # from 1815 to 1946
    shuffled = sorted(days, key=lambda day: day * 7_919 % 1_201)
    edits = story.arrive(
        *(event(f"leader {day}", target=f"Leader {day}", day=day) for day in shuffled),
        # The same moment in another relation is another fact.
        event("mayor", relation="mayor", prompt="The mayor of Norland is", day=days[-1]),
    )
    plan = plan_cycle(story.ledger, settings(), lanes=BOTH)
    assert plan is not None
    planned = {edit.event_id for edit in edits if story.state(edit) == "planned"}
    assert planned == {f"leader {days[-1]}", "mayor"}
    assert len(plan.superseded) == 1_199
    assert {lost.winner_id for lost in plan.superseded} == {
        edit.id for edit in edits if edit.event_id == f"leader {days[-1]}"
    }
