"""What checks keep in the ledger: base answers, progress, evidence, samples, and what becomes of the blamed."""

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import update
from support.ledger.ledger_backends import START, Clock, Story, database_of, event
from support.ledger.ledger_invariants import check_invariants

from daemon.ledger import Ledger
from daemon.ledger.errors import LeaseLost
from daemon.ledger.records.checks import MAX_ATTEMPTS
from daemon.ledger.records.samples import Samples
from daemon.ledger.store.schema import history
from daemon.ledger.values import Blamed, CheckKind, CheckResult, Edit, EditState
from monitoring.checks.tally import Failure

HARM = Blamed("it did harm", {"verdict": "offending"})


def test_what_the_base_answered_is_kept_for_that_base_prompt_and_length(ledger: Ledger) -> None:
    answers = ledger.base_answers
    answers.store("base", {"a?": "Paris \x00", "b?": ""}, max_new_tokens=8)
    answers.store("base", {"a?": "other", "c?": "new"}, max_new_tokens=8)

    assert answers.known("base", ["a?", "b?", "c?", "d?"], max_new_tokens=8) == {
        "a?": "Paris \x00",
        "b?": "",
        "c?": "new",
    }
    assert answers.known("other base", ["a?"], max_new_tokens=8) == {}
    assert answers.known("base", ["a?"], max_new_tokens=9) == {}


def test_a_check_that_is_paused_goes_on_where_it_was_with_all_its_attempts(
    ledger: Ledger, clock: Clock
) -> None:
    checks = ledger.checks
    asked = checks.request(None, "nightly", kind=CheckKind.FULL)
    assert checks.request(None, "interval") != asked
    for step in range(MAX_ATTEMPTS + 2):
        claimed = checks.claim("worker-1", lease_seconds=60, kinds=[CheckKind.FULL])
        assert claimed is not None
        assert (claimed.id, claimed.suite, claimed.kind) == (asked, None, CheckKind.FULL)
        assert claimed.progress == (None if step == 0 else {"step": step - 1})
        checks.pause(claimed.id, claimed.token, {"step": step})
    lost = checks.claim("worker-1", lease_seconds=60, kinds=[CheckKind.FULL])
    assert lost is not None
    clock.advance(61)
    taken = checks.claim("worker-2", lease_seconds=60, kinds=[CheckKind.FULL])
    assert taken is not None
    assert taken.progress == {"step": MAX_ATTEMPTS + 1}
    with pytest.raises(LeaseLost):
        checks.pause(lost.id, lost.token, {"step": 99})
    checks.finish(taken.id, taken.token, [])
    assert checks.claim("worker-1", lease_seconds=60, kinds=[CheckKind.FULL]) is None


def test_results_are_followed_back_only_along_one_baseline(ledger: Ledger, clock: Clock) -> None:
    failure = Failure(prompt="p\x00", wanted="a", given="b", fired="7")
    for number, baseline in enumerate(["old", "new", "old"]):
        ledger.checks.request(None, "test")
        claimed = ledger.checks.claim("w", lease_seconds=60)
        assert claimed is not None
        result = CheckResult("far", number, clock(), number != 1, {"locality": 1.0}, 10, baseline)
        ledger.checks.finish(claimed.id, claimed.token, [result], worst={"far": [failure] * number})

    assert [result.generation for result in ledger.checks.trail("far", "old", 10)] == [2, 0]
    assert [result.generation for result in ledger.checks.trail("far", "old", 1)] == [2]
    assert [result.generation for result in ledger.checks.latest()] == [2]
    assert [result.generation for result in ledger.checks.latest_failed()] == [1]
    assert ledger.checks.worst() == {"far": (failure, failure)}
    assert ledger.checks.failures() == {"far": 1}


def test_edits_are_drawn_alike_for_a_seed_and_pages_hold_every_live_edit(story: Story) -> None:
    edits = story.go_live(*(event(f"e{n}", f"Land {n}") for n in range(30)))
    story.arrive(*(event(f"p{n}", f"Waiting {n}") for n in range(5)))
    samples = story.ledger.samples

    drawn = [edit.id for edit in samples.live(10, seed=1)]
    assert len(set(drawn)) == 10
    assert drawn == [edit.id for edit in samples.live(10, seed=1)]
    assert drawn != [edit.id for edit in samples.live(10, seed=2)]
    assert {edit.id for edit in samples.live(99, seed=1)} == {edit.id for edit in edits}
    assert samples.live(99, seed=1, since=2) == []
    assert {e.state.value for e in samples.asserted([EditState.PENDING], 99, seed=1)} == {"pending"}
    assert [e.id for e in samples.live_page(edits[9].id, 100)] == [e.id for e in edits[10:]]


def test_a_large_ledger_is_drawn_from_evenly(story: Story) -> None:
    edits = story.go_live(*(event(f"e{n}", f"Land {n}") for n in range(60)))
    samples = Samples(database_of(story.ledger), draw_size=8, max_draws=5)
    hits = Counter(edit.id for seed in range(150) for edit in samples.live(6, seed=seed))

    assert set(hits) == {edit.id for edit in edits}
    assert max(hits.values()) < 6 * min(hits.values())  # 15 of 150 on the average


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_sample_looks_edits_up_by_their_ids_however_many_are_live(story: Story) -> None:
    story.go_live(*(event(f"e{n}", f"Land {n}") for n in range(60)))
    database = database_of(story.ledger)
    asked = []

    @sqlalchemy_event.listens_for(database.engine, "before_cursor_execute")
    def remember(_conn: object, _cursor: object, statement: str, parameters: Any, *_rest: object) -> None:
        if " IN (" in statement:
            asked.append((statement, parameters))

    assert len(Samples(database, draw_size=8, max_draws=40).live(6, seed=1)) == 6
    assert asked
    with database.read() as connection:
        for statement, parameters in tuple(asked):
            plan = [
                row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            ]
            assert plan[0] == "SEARCH edits USING INTEGER PRIMARY KEY (rowid=?)"


def test_the_older_values_of_a_fact_and_when_generations_came_are_known(story: Story, clock: Clock) -> None:
    story.go_live(event("a", target="Elbing"))
    clock.advance(86_400)
    (newer,) = story.go_live(event("b", target="Marrow", day=2))
    samples = story.ledger.samples

    assert samples.older_values([newer]) == {newer.id: ("Elbing",)}
    assert samples.first_after(START) == 0
    assert samples.first_after(START + timedelta(seconds=1)) == 2
    assert samples.first_after(START + timedelta(days=2)) is None
    assert story.ledger.generations.shards_at(1, [newer.id, "1"]) == {
        "1": story.ledger.generations.live_at(1)["1"]
    }


def live(story: Story) -> set[str]:
    return set(story.ledger.generations.live())


def ids(*edits: Edit) -> set[str]:
    return {edit.id for edit in edits}


def test_a_live_culprit_is_quarantined_and_everybody_else_stays(story: Story) -> None:
    good, bad = story.go_live(event("a", "A"), event("b", "B"))
    made = story.ledger.generations.settle_blame(
        {bad.id: HARM}, cleared=[good.id], rolled_back=None, cause="blame of generation 1"
    )
    assert made is not None
    assert (made.number, made.disabled, dict(made.enabled)) == (2, (bad.id,), {})
    assert (story.state(good), story.state(bad), live(story)) == ("live", "quarantined", ids(good))
    last = story.ledger.audit.history(bad.id)[-1]
    assert (last.cause, last.detail["blame"]["verdict"]) == ("blame of generation 1", "offending")
    again = story.ledger.generations.settle_blame(
        {bad.id: HARM}, cleared=[good.id], rolled_back=None, cause="once more"
    )
    assert again is None
    check_invariants(story.ledger)


def test_after_a_rollback_the_cleared_come_back_and_the_culprit_does_not(story: Story) -> None:
    (old,) = story.go_live(event("old", "A", "Elbing"))
    new, bad = story.go_live(event("new", "A", "Marrow", day=2), event("bad", "B"))
    back = story.ledger.generations.rollback_to(1, cause="regression failed")
    assert live(story) == ids(old)
    story.ledger.generations.settle_blame(
        {bad.id: HARM}, cleared=[new.id], rolled_back=back.number, cause="blame"
    )
    assert live(story) == ids(new)
    assert (story.state(old), story.state(bad)) == ("superseded", "quarantined")
    assert story.ledger.audit.history(new.id)[-1].detail["blame"] == {"verdict": "cleared"}
    check_invariants(story.ledger)


@pytest.mark.parametrize(("earlier", "verdict"), [("innocent", "cleared"), ("culprit", "offending")])
def test_the_verdicts_that_an_earlier_release_kept_are_read_in_this_ones_words(
    story: Story, earlier: str, verdict: str
) -> None:
    (blamed,) = story.go_live(event("a"))
    kept = {"blame": {"verdict": earlier, "suite": "far"}, "by": "a check"}
    with database_of(story.ledger).write() as connection:
        connection.execute(update(history).where(history.c.edit_id == blamed.id).values(detail=kept))
    for entry in story.ledger.audit.history(blamed.id):
        assert entry.detail == {"blame": {"verdict": verdict, "suite": "far"}, "by": "a check"}


def test_what_a_cleared_edit_ended_in_other_words_ends_again(story: Story) -> None:
    (old,) = story.go_live(event("old", "A", "Elbing"))
    reported = event("new", "A", "Marrow", day=2, relation=None, prompt="A is ruled from")
    new, bad = story.arrive(reported, event("bad", "B"))
    story.plan([new, bad])
    story.publish(story.claim(), same={new.id: [old.id]})
    assert live(story) == ids(new, bad)
    back = story.ledger.generations.rollback_to(1, cause="regression failed")
    story.ledger.generations.settle_blame(
        {bad.id: HARM}, cleared=[new.id], rolled_back=back.number, cause="blame"
    )
    assert (live(story), story.state(old)) == (ids(new), "superseded")
    check_invariants(story.ledger)


def test_the_value_before_a_culprit_stays_until_somebody_mends_the_fact(story: Story) -> None:
    (old,) = story.go_live(event("old", "A", "Elbing"))
    (bad,) = story.go_live(event("bad", "A", "Marrow", day=2))
    back = story.ledger.generations.rollback_to(1, cause="regression failed")
    made = story.ledger.generations.settle_blame(
        {bad.id: HARM}, cleared=[], rolled_back=back.number, cause="blame"
    )
    assert made is None
    assert (live(story), story.state(bad)) == (ids(old), "quarantined")
    story.ledger.control.retry(bad.id, cause="mended")
    assert story.state(bad) == "pending"
    check_invariants(story.ledger)


def test_what_happened_since_the_rollback_is_not_undone(story: Story) -> None:
    kept, gone = story.go_live(event("kept", "A"), event("gone", "B"))
    story.go_live(event("gone too", "B", op="retract", day=2))
    one, two, bad = story.go_live(
        event("one", "C", day=2), event("two", "D", day=2), event("bad", "E", day=2)
    )
    back = story.ledger.generations.rollback_to(1, cause="regression failed")
    assert live(story) == ids(kept, gone)
    (newer,) = story.go_live(event("newer", "C", "Marrow", day=5))
    story.go_live(event("two is gone", "D", op="retract", day=5))
    story.ledger.generations.settle_blame(
        {bad.id: HARM}, cleared=[one.id, two.id], rolled_back=back.number, cause="blame"
    )
    assert live(story) == ids(kept, newer), "retracted facts stay retracted, newer facts stay"
    assert story.state(gone) == "retracted"
    check_invariants(story.ledger)
