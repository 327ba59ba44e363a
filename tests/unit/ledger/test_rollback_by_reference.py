"""A rollback of very many edits answers at once; what it changes is written down afterwards, by whoever comes by."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime

import pytest
from support.ledger.ledger_backends import Clock, Story, database_of, event
from support.ledger.ledger_invariants import check_invariants

from daemon.ledger import open_ledger
from daemon.ledger.errors import ForbiddenMove, RollbackUnfinished
from daemon.ledger.publication import rollback
from daemon.ledger.publication.reversals import Reversals
from daemon.ledger.values import Act, Blamed, Edit, EditState, Lane, Plan, Supersession

WHY = Act("ada", "locality fell")


def reversals_of(story: Story, *, at_once: int, lock_seconds: float = 0) -> Reversals:
    return Reversals(database_of(story.ledger), story.clock, at_once=at_once, lock_seconds=lock_seconds)


def much_has_happened(story: Story) -> list[Edit]:
    """Two facts go live (their edits are given) and are overtaken, taken back by hand and retracted, as are later ones."""
    first = story.go_live(event("a1", "A", day=1), event("b1", "B", day=1))
    story.go_live(event("a2", "A", day=2), event("c1", "C", day=1))
    story.go_live(event("a3", "A", day=3), event("d1", "D", day=2))
    (by_hand,) = story.go_live(event("e1", "E", day=2))
    story.ledger.reversals.undo_fact(by_hand.id, Act("test", "wrong"))
    story.go_live(event("b gone", "B", op="retract", day=3))
    story.go_live(event("f1", "F", day=4))
    return first


def trained_twice(story: Story) -> Edit:
    """An edit that went live in generation 1, was taken out of play and is live in generation 3, by another shard."""
    (edit,) = story.go_live(event("a1", "A"))
    story.ledger.generations.settle_blame({edit.id: Blamed("x", {})}, cleared=(), rolled_back=None, cause="x")
    story.ledger.control.retry(edit.id, cause="again")
    story.plan([story.ledger.audit.edit(edit.id)])
    story.publish(story.claim())
    return edit


def test_it_answers_as_then_at_once_and_everything_else_waits_until_it_is_written_down(story: Story) -> None:
    a1, b1 = much_has_happened(story)
    (waiting,) = story.plan_urgently(event("g1", "G", day=5))
    batch, before = story.claim(), story.head()
    then = story.ledger.generations.live_at(1)
    made = reversals_of(story, at_once=2).rollback(1, WHY)

    generations, reversals = story.ledger.generations, story.ledger.reversals
    assert made.number == before + 1 == story.head()
    assert (
        generations.live() == generations.live_at(made.number) == then == {a1.id: "shard-1", b1.id: "shard-1"}
    )
    assert (story.state(a1), story.state(b1)) == ("superseded", "retracted")
    refused: list[Callable[[], object]] = [
        lambda: story.publish(batch),
        lambda: reversals.undo_fact(a1.id, WHY),
        lambda: reversals.preview_rollback(0),
        lambda: reversals.rollback(0, WHY),
        lambda: generations.settle_blame({a1.id: Blamed("x", {})}, cleared=(), rolled_back=None, cause="x"),
        lambda: generations.live_edits(),
        lambda: story.ledger.timeline.difference(1, made.number),
    ]
    for ask in refused:
        with pytest.raises(
            RollbackUnfinished, match=rf"generation {made.number} answers as generation 1 did.*try again"
        ):
            ask()
    assert story.ledger.timeline.named([made.number])[0].answers_as == 1

    assert reversals.finish()
    assert not reversals.finish()
    assert generations.live() == generations.live_at(made.number) == then
    assert (story.state(a1), story.state(b1)) == ("live", "live")
    line = story.ledger.timeline.named([made.number])[0]
    whole = generations.get(made.number)
    assert (line.answers_as, line.switched_on, line.switched_off) == (None, 2, 4)
    assert (len(whole.enabled), len(whole.disabled), whole.cause) == (2, 4, "rollback: locality fell")
    assert story.ledger.timeline.difference(1, made.number).changes == ()
    published = story.publish(batch, expected_head=made.number)
    assert published is not None
    assert waiting.id in published.enabled
    check_invariants(story.ledger)


@pytest.mark.parametrize("at_once", [0, 1, 3])
def test_who_is_killed_on_the_way_leaves_the_rest_to_the_next(
    story: Story, url: str, clock: Clock, at_once: int
) -> None:
    much_has_happened(story)
    then = story.ledger.generations.live_at(1)
    reversals = reversals_of(story, at_once=at_once)
    made = reversals.rollback(1, WHY)
    assert reversals.finish(seconds=0)  # one step, and gone
    assert story.ledger.reversals.unfinished() is not None

    with open_ledger(url, clock=clock) as another:
        assert another.generations.live() == then
        assert another.reversals.finish()
        assert another.reversals.unfinished() is None
        assert another.generations.live() == another.generations.live_at(made.number) == then
        check_invariants(another)


def test_what_people_took_back_stays_off_and_what_they_put_in_its_place_stays_on(story: Story) -> None:
    (wrong, old) = (story.go_live(event(name, "A", day=day))[0] for name, day in (("new", 2), ("old", 1)))
    (wrong,) = story.go_live(event("newest", "A", day=3))
    story.go_live(event("b1", "B", day=1))
    then = story.head()
    story.ledger.reversals.undo_fact(wrong.id, Act("ada", "wrong"), restore_previous=True)
    story.go_live(event("c1", "C", day=1), event("d1", "D", day=1))
    made = reversals_of(story, at_once=0).rollback(then, WHY)

    live = {story.ledger.audit.edit(i).event_id for i in story.ledger.generations.live_at(made.number)}
    assert live == {"new", "b1"}
    story.ledger.reversals.finish()
    assert {edit.event_id for edit in story.ledger.generations.live_edits()} == live
    assert story.state(old) == "superseded"
    check_invariants(story.ledger)


def test_an_edit_that_was_trained_again_answers_from_the_shard_that_it_had_then(story: Story) -> None:
    edit = trained_twice(story)
    assert story.ledger.generations.live() == {edit.id: "shard-2"}
    for at_once in (0, 1_000):
        made = reversals_of(story, at_once=at_once).rollback(1 if at_once == 0 else 3, WHY)
        story.ledger.reversals.finish()
        assert story.ledger.generations.live() == {edit.id: "shard-1" if at_once == 0 else "shard-2"}
        assert story.ledger.generations.get(made.number).enabled == story.ledger.generations.live()
    assert story.state(edit) == EditState.LIVE


def test_where_nothing_differs_however_much_was_changed_nothing_is_published(story: Story) -> None:
    much_has_happened(story)
    reversals = reversals_of(story, at_once=0)
    made = reversals.rollback(1, WHY)
    reversals.finish()
    assert reversals.rollback(1, WHY).number == made.number == story.head()


@pytest.mark.parametrize("at_once", [0, 1_000], ids=["by reference", "in one transaction"])
def test_a_culprit_that_was_live_then_stays_off_and_the_rest_is_as_then(story: Story, at_once: int) -> None:
    culprit, other = story.go_live(event("a1", "A"), event("b1", "B"))
    repaired, newer = story.go_live(event("c1", "C"), event("b2", "B", day=2))
    blamed = {edit.id: Blamed("it did it", {}) for edit in (culprit, repaired)}
    story.ledger.generations.settle_blame(blamed, cleared=(), rolled_back=None, cause="blame")
    story.ledger.control.retry(repaired.id, cause="again")
    reversals = reversals_of(story, at_once=at_once)
    kept = {one.edit_id: one.why for one in reversals.preview_rollback(2).kept}
    assert kept == {culprit.id: "it is quarantined", repaired.id: "it is pending"}
    for number, wanted in ((2, newer), (1, other)):
        made = reversals.rollback(number, WHY)
        assert list(story.ledger.generations.live_at(made.number)) == [wanted.id]
        reversals.finish()
        assert [edit.id for edit in story.ledger.generations.live_edits()] == [wanted.id]
    assert (story.state(culprit), story.state(repaired)) == ("quarantined", "pending")
    check_invariants(story.ledger)


def test_what_one_large_generation_changed_is_written_in_several_steps_and_not_undone_in_one(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = [event(f"e{number}", f"Land {number}") for number in range(12)]
    story.go_live(*facts[:6])
    story.go_live(*facts[6:])
    reversals = reversals_of(story, at_once=4)
    emptied = reversals.rollback(0, WHY)
    reversals.finish()
    made = reversals.rollback(2, WHY)
    steps = 0
    while reversals.finish(seconds=0):
        steps += 1
        written = story.ledger.generations.get(made.number)
        assert len(written.enabled) <= 4 * steps
    assert (len(written.enabled), len(written.disabled)) == (12, 0)
    check_invariants(story.ledger)

    monkeypatch.setattr(rollback, "MAX_UNDONE", 11)
    with pytest.raises(ForbiddenMove, match=f"roll back to generation {emptied.number - 1}"):
        reversals.undo_generation(emptied.number, WHY)
    assert len(reversals.undo_generation(1, WHY).disabled) == 6


def test_no_plan_is_stored_meanwhile_and_none_supersedes_an_edit_by_one_that_was_taken_back(
    story: Story,
) -> None:
    (taken_back,) = story.go_live(event("a3", "A", day=3))
    (waits,) = story.arrive(event("a2", "A", day=2))
    drafted = Plan(Lane.BATCH, 0, (), superseded=(Supersession(waits.id, taken_back.id),))
    reversals = reversals_of(story, at_once=0)
    reversals.rollback(0, WHY)
    with pytest.raises(RollbackUnfinished):
        story.ledger.plans.store(drafted)
    reversals.finish()
    story.ledger.plans.store(drafted)
    assert (story.state(taken_back), story.state(waits)) == ("retracted", "pending")


def test_undoing_a_rollback_gives_an_edit_the_shard_back_that_it_had_before(story: Story) -> None:
    edit = trained_twice(story)
    made = story.ledger.generations.rollback_to(1, cause="x")
    story.ledger.reversals.undo_generation(made.number, WHY)
    assert story.ledger.generations.live() == {edit.id: "shard-2"}
    assert story.state(edit) == "live"


def test_the_daemons_own_rollback_waits_for_an_earlier_one_instead_of_being_refused(story: Story) -> None:
    much_has_happened(story)
    then = story.ledger.generations.live_at(2)
    reversals_of(story, at_once=0).rollback(1, WHY)
    made = story.ledger.generations.rollback_to(2, cause="regression failed")
    assert story.ledger.generations.live() == story.ledger.generations.live_at(made.number) == then


def test_steps_grow_while_they_are_quick(story: Story) -> None:
    for number in range(10):
        story.go_live(event(f"e{number}", f"Land {number}"))

    def ticking() -> datetime:
        story.clock.advance(1)
        return story.clock()

    patient = Reversals(database_of(story.ledger), ticking, at_once=1, lock_seconds=3_600)
    patient.rollback(0, WHY)
    patient.finish()
    ended = Counter(story.ledger.audit.history(edit.id)[-1].at for edit in story.ledger.audit.facts())
    assert [ended[moment] for moment in sorted(ended)] == [1, 2, 4, 3]
    assert story.ledger.generations.live() == {}
