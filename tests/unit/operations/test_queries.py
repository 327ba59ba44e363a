"""What changed, which fact and why: lists of generations, differences, searches and a fact's page."""

import re
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import text
from support.ledger.ledger_backends import BEFORE_0006, Clock, Story, database_of, event

from daemon.ledger.errors import NotInLedger
from daemon.ledger.page_values import Difference, FactQuery
from daemon.ledger.values import Act, CheckResult, EditState, GenerationKind, RejectedEdit
from daemon.operations import queries
from edits.errors import BadRequest


def answers(found: Difference) -> list[tuple[str, str | None, str | None]]:
    """Subject, old answer, new answer."""
    return [
        (one.subject, one.old.answer if one.old else None, one.new.answer if one.new else None)
        for one in found.changes
    ]


def found(story: Story, **asked: object) -> list[str]:
    """The event ids of all pages of a search, two to a page."""
    ids, cursor = [], None
    while True:
        page = queries.find_facts(story.ledger, FactQuery(**asked), cursor=cursor, limit=2)  # type: ignore[arg-type]
        ids += [edit.event_id for edit in page.facts]
        if page.next is None:
            return ids
        cursor = page.next


def test_generations_are_listed_newest_first_with_what_caused_and_what_became_of_them(
    story: Story, clock: Clock
) -> None:
    story.go_live(event("a", "A"), event("b", "B"))
    clock.advance(60)
    story.go_live(event("a2", "A", "Other", day=2))
    asked = story.ledger.checks.request(None, "interval")
    claimed = story.ledger.checks.claim("w", lease_seconds=60)
    assert claimed is not None
    verdicts = [CheckResult("far", 2, clock(), ok, {"identical": 1.0}, 10) for ok in (False, True)]
    story.ledger.checks.finish(asked, claimed.token, verdicts)

    page = queries.generations(story.ledger, limit=2)
    newest, first = page.generations
    assert (newest.number, newest.kind, newest.batch_id, newest.plan_id) == (2, GenerationKind.BATCH, 2, 2)
    assert (newest.lane, newest.editor, newest.actor, newest.scores) == (
        "batch",
        "scen",
        None,
        {"reliability": 1.0},
    )
    assert (newest.switched_on, newest.switched_off) == (1, 1)
    assert [(check.suite, check.passed) for check in newest.checks] == [("far", True)]
    assert (first.number, first.switched_on, first.switched_off, first.checks) == (1, 2, 0, ())
    assert page.next == 1
    (zero,) = queries.generations(story.ledger, before=page.next).generations
    assert (zero.number, zero.kind) == (0, GenerationKind.START)
    since = queries.generations(story.ledger, since=clock() - timedelta(seconds=1)).generations
    assert [one.number for one in since] == [2]
    assert queries.generations(story.ledger, since=clock() + timedelta(seconds=1)).generations == ()


def test_a_difference_tells_each_facts_old_and_new_answer_both_ways_and_page_by_page(story: Story) -> None:
    story.go_live(event("a", "A", "a1"), event("b", "B", "b1"))  # 1
    story.go_live(event("a2", "A", "a2", day=2), event("c", "C", "c1"))  # 2
    (gone,) = story.go_live(event("b2", "B", "b2", day=3))  # 3
    story.ledger.reversals.undo_fact(gone.id, Act("test", "wrong"))  # 4

    assert answers(queries.difference(story.ledger, 1, 2)) == [("C", None, "c1"), ("A", "a1", "a2")]
    assert answers(queries.difference(story.ledger, 2, 1)) == [("C", "c1", None), ("A", "a2", "a1")]
    assert answers(queries.difference(story.ledger, 1, 4)) == [
        ("B", "b1", None),
        ("C", None, "c1"),
        ("A", "a1", "a2"),
    ]
    assert answers(queries.difference(story.ledger, 3, 3)) == []
    pages, cursor = [], None
    while True:
        page = queries.difference(story.ledger, 0, 4, cursor=cursor, limit=1)
        pages += answers(page)
        if (cursor := page.next) is None:
            break
    assert pages == [("C", None, "c1"), ("A", None, "a2")]
    with pytest.raises(NotInLedger, match="there is no generation 9"):
        queries.difference(story.ledger, 1, 9)
    with pytest.raises(BadRequest):
        queries.difference(story.ledger, 0, 4, cursor="x")


def test_facts_are_found_by_everything_that_is_known_of_them(story: Story, clock: Clock) -> None:
    story.go_live(
        event("fr", "France", "Lyon", aliases=["République française"]), event("de", "Germany", "Bonn")
    )
    clock.advance(3600)
    story.go_live(event("fr2", "France", "Paris", day=2))
    story.arrive(event("it", "Italy", "Lyons", relation="twin of", prompt="The twin of Italy is"))

    assert found(story) == ["it", "fr2", "de", "fr"]
    assert found(story, subject="république FRANÇAISE") == ["fr"]
    assert found(story, subject="france", state=EditState.LIVE) == ["fr2"]
    assert found(story, text="capital franc") == ["fr2", "fr"]
    assert found(story, text="lyon") == ["it", "fr"]
    assert found(story, answer="lyon") == ["it", "fr"]
    assert found(story, answer="france") == []
    assert found(story, text="nothing such") == []
    assert found(story, event_id="de") == ["de"]
    assert found(story, edit_id="1") == ["fr"]
    assert found(story, edit_id="1", state=EditState.LIVE) == []
    assert found(story, generation=2) == ["fr2", "fr"]
    assert found(story, relation="twin of") == ["it"]
    assert found(story, state=EditState.LIVE) == ["fr2", "de"]
    assert found(story, since=clock()) == ["it", "fr2", "fr"], "the last move first"
    assert sorted(found(story, until=clock() - timedelta(seconds=1))) == ["de", "fr"]
    assert found(story, since=clock(), state=EditState.SUPERSEDED) == ["fr"]
    assert found(story, text="capital", since=clock()) == ["fr2", "fr"]
    for wrong in ({"text": "?!"}, {"answer": ""}):
        with pytest.raises(BadRequest, match="no word"):
            found(story, **wrong)
    with pytest.raises(BadRequest):
        queries.find_facts(story.ledger, FactQuery(), cursor="1 OR 1")


def test_facts_of_a_batch_that_was_split_are_found_in_its_halves(story: Story, clock: Clock) -> None:
    edits = story.arrive(*(event(name, name) for name in ("a", "b", "c", "d")))
    ids = [edit.id for edit in edits]
    story.plan(edits[:3], edits[3:])
    whole = story.claim()
    clock.advance(1)
    halves = story.ledger.batches.split(whole.id, whole.token, (ids[:2], ids[2:3]), reason="too large")
    first = story.claim()
    clock.advance(1)
    story.ledger.batches.split(first.id, first.token, ([ids[0]], [ids[1]]), reason="again")
    story.publish(story.claim())

    assert found(story, batch=whole.id) == ["c", "b", "a"]
    assert found(story, batch=whole.id, state=EditState.LIVE) == ["c"]
    assert [found(story, batch=number) for number in halves] == [["b", "a"], ["c"]]
    assert found(story, batch=whole.id + 1) == ["d"]
    assert found(story, batch=99) == []
    assert found(story, batch=halves[1], subject="a") == []
    split = story.ledger.batch_lists.split()
    assert [[half.line.id for half in one.halves] for one in split] == [
        [halves[1] + 1, halves[1] + 2],
        halves,
    ]
    assert [half.edits for half in split[1].halves] == [{}, {EditState.LIVE: 1}]


def test_a_facts_page_tells_its_value_events_batch_generations_checks_and_why(
    story: Story, clock: Clock
) -> None:
    (old,) = story.go_live(event("a", target="Old"))
    (new,) = story.go_live(event("b", target="New", day=2, source="atlas"))
    asked = story.ledger.checks.request(None, "interval")
    claimed = story.ledger.checks.claim("w", lease_seconds=60)
    assert claimed is not None
    results = [CheckResult("far", number, clock(), True, {}, 10) for number in (1, 2)]
    story.ledger.checks.finish(asked, claimed.token, results)

    page = queries.fact_page(story.ledger, new.id)
    assert page.now is not None
    assert page.before is not None
    assert (page.now.answer, page.before.answer, page.before.edit_id) == ("New", "Old", old.id)
    assert [(one.topic, one.partition, one.offset, one.outcome) for one in page.records] == [
        ("fact-updates", 0, 1, "accepted")
    ]
    assert page.batch is not None
    assert (page.batch.id, page.batch.editor, page.batch.state, page.batch.edits) == (2, "scen", "done", 1)
    assert [one.number for one in page.generations] == [2]
    assert [edit.id for edit in page.versions] == [old.id]
    assert [check.generation for check in page.checks] == [2]
    assert page.why == "it passed verification and answers since generation 2"
    assert (page.can_undo, page.can_retry, page.edit.event.source) == (True, False, "atlas")

    before = queries.fact_page(story.ledger, old.id)
    assert [check.generation for check in before.checks] == [1]
    assert before.why == f"a newer value of the same fact took its place: edit {new.id} is newer"
    assert [one.number for one in before.generations] == [2, 1]
    with pytest.raises(NotInLedger, match="there is no edit 99"):
        queries.fact_page(story.ledger, "99")
    for no_id in ("", "one", "-1", "1; --", "9" * 30, "\u0661"):
        with pytest.raises(NotInLedger, match="there is no edit"):
            queries.fact_page(story.ledger, no_id)


def test_a_rejected_facts_page_has_its_scores_and_may_try_again(story: Story) -> None:
    (edit,) = story.plan_urgently(event("a"))
    verdict = RejectedEdit("reliability 0.2 is under its floor", {"reliability": 0.2})
    story.publish(story.claim(), live={}, rejected={edit.id: verdict})

    page = queries.fact_page(story.ledger, edit.id)
    assert (page.verification, page.can_retry, page.now) == ({"reliability": 0.2}, True, None)
    assert page.why == "verification turned it down: reliability 0.2 is under its floor"


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_no_question_reads_a_whole_table(story: Story, clock: Clock) -> None:
    story.go_live(event("a", "A"), event("b", "B"))
    (new,) = story.go_live(event("a2", "A", "Other", day=2))
    asked: dict[str, tuple[str, Any]] = {}

    @sqlalchemy_event.listens_for(database_of(story.ledger).engine, "before_cursor_execute")
    def remember(
        _conn: object, _cursor: object, statement: str, parameters: Any, _context: object, executemany: bool
    ) -> None:
        if not executemany and statement.startswith("SELECT"):
            asked.setdefault(re.sub(r"\?(, \?)+", "?", statement), (statement, parameters))

    ledger = story.ledger
    queries.generations(ledger, before=9, since=clock())
    queries.difference(ledger, 0, 2, cursor="2-9")
    queries.fact_page(ledger, new.id)
    for query in (
        FactQuery(subject="A", relation="capital"),
        FactQuery(text="capital other", generation=2),
        FactQuery(event_id="a"),
        FactQuery(batch=1),
        FactQuery(generation=2, state=EditState.LIVE),
        FactQuery(since=clock(), until=clock()),
        FactQuery(state=EditState.LIVE),
        FactQuery(relation="capital"),
        FactQuery(),
    ):
        queries.find_facts(ledger, query, cursor="9")
    ledger.reversals.preview_undo_generation(2)
    ledger.reversals.preview_rollback(1)
    queries.holds(ledger)
    queries.audit(ledger, before=9)

    assert len(asked) > 25
    with database_of(ledger).read() as connection:
        for statement, parameters in list(asked.values()):
            if "LIMIT" in statement and "ORDER BY" in statement and "WHERE" not in statement:
                continue  # the newest rows, by number
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters):
                plan = row[3]
                whole = re.search(
                    r"SCAN (records|edits|edit_\w+|history|batches|check_results|generation\w+)$", plan
                )
                assert whole is None, f"{plan}: {statement}"
                assert (
                    "USE TEMP B-TREE FOR ORDER BY" not in plan or " IN (" in statement or " OR " in statement
                ), f"{plan}: {statement}"


def test_a_ledger_of_the_release_before_has_its_lists_and_searches_after_the_migration(story: Story) -> None:

    story.go_live(event("a", "A"), event("b", "B"))
    (gone,) = story.go_live(event("c", "C"))
    story.ledger.reversals.undo_fact(gone.id, Act("test", "wrong"))
    story.ledger.control.hold("look at this")
    with database_of(story.ledger).write() as connection:
        connection.execute(text("UPDATE generations SET cause = 'batch 1 (scen, batch)' WHERE number = 1"))
        connection.execute(text("UPDATE generations SET cause = 'rollback: wrong' WHERE number = 3"))
        for statement in (*BEFORE_0006, "UPDATE alembic_version SET version_num = '0005'"):
            connection.execute(text(statement))

    story.ledger.migrate()
    lines = queries.generations(story.ledger).generations
    assert [(one.kind, one.batch_id, one.switched_on, one.switched_off) for one in lines] == [
        ("undo_fact", None, 0, 1),
        ("batch", None, 1, 0),
        ("batch", 1, 2, 0),
        ("start", None, 0, 0),
    ]
    assert found(story, text="capital of b") == ["b"]
    assert [(one.actor, one.reason) for one in queries.holds(story.ledger)] == [("unknown", "look at this")]
