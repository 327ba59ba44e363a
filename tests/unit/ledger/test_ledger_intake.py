"""Records into the ledger: each has one outcome, whatever is delivered again."""

from sqlalchemy import event as sqlalchemy_event
from support.ledger.ledger_backends import Clock, Story, database_of, event, record

from daemon.ledger import Ledger, open_ledger
from daemon.ledger.values import EditState, RecordOutcome

ACCEPTED, DUPLICATE, DEAD = RecordOutcome.ACCEPTED, RecordOutcome.DUPLICATE, RecordOutcome.DEAD_LETTERED


def test_an_accepted_event_becomes_a_pending_edit_that_holds_all_of_it(ledger: Ledger, clock: Clock) -> None:
    fact = event("e1", "Ångström", aliases=("Anders",), rephrase_prompts=("Ångström has the capital",))
    report = ledger.intake.record([record(fact, 7)])

    assert report.outcomes == (ACCEPTED,)
    (edit,) = ledger.plans.pending(None, 10)
    assert edit.event == fact
    assert (edit.state, edit.offset, edit.occurred_at) == (EditState.PENDING, 7, fact.occurred_at)
    (first,) = ledger.audit.history(edit.id)
    assert (first.from_state, first.to_state, first.at) == (None, EditState.PENDING, clock())
    assert ledger.intake.backlog() == 1


def test_a_redelivered_record_changes_nothing_and_repeats_its_outcome(ledger: Ledger) -> None:
    batch = [
        record(event("e1"), 0),
        record(None, 1, rejection="not JSON"),
        record(event("e1"), 2),
        record(event("e1", target="Other"), 3),
    ]
    first = ledger.intake.record(batch)
    again = ledger.intake.record(batch)

    assert first.outcomes == again.outcomes == (ACCEPTED, DEAD, DUPLICATE, DEAD)
    assert first.reasons == again.reasons
    assert first.reasons[1:] == ("not JSON", None, "event_id was used before with other content")
    assert (first.redelivered, again.redelivered) == (0, 4)
    assert ledger.intake.outcomes() == {ACCEPTED: 1, DUPLICATE: 1, DEAD: 2}
    assert len(ledger.plans.pending(None, 10)) == 1


def test_a_topic_that_was_made_again_is_read_as_new(ledger: Ledger) -> None:
    ledger.intake.record([record(event("e1"), 0, digest="old")])
    report = ledger.intake.record([record(event("e2"), 0, digest="new")])

    assert report.outcomes == (ACCEPTED,)
    assert report.redelivered == 0


def test_the_same_event_sent_later_without_a_time_of_its_own_is_a_duplicate(ledger: Ledger) -> None:
    report = ledger.intake.record([record(event("e1", day=1), 0), record(event("e1", day=2), 1)])

    assert report.outcomes == (ACCEPTED, DUPLICATE)


def test_a_reason_from_a_hostile_record_is_kept_in_bounds(ledger: Ledger) -> None:
    report = ledger.intake.record([record(None, 0, rejection="\x00\ud800" + "x" * 5000)])

    assert report.reasons[0] is not None
    assert len(report.reasons[0]) == 1000
    assert ledger.intake.record([record(None, 0)]).reasons == report.reasons


def test_nothing_is_kept_when_the_transaction_fails(ledger: Ledger, url: str, clock: Clock) -> None:
    with open_ledger(url, clock=clock) as broken:
        # The connection fails while history is written, after records and edits.
        engine = database_of(broken).engine

        @sqlalchemy_event.listens_for(engine, "before_cursor_execute")
        def fail(conn: object, cursor: object, statement: str, *rest: object) -> None:
            if "INTO history" in statement:
                raise RuntimeError("the process dies here")

        try:
            broken.intake.record([record(event("e1"), 0)])
        except RuntimeError:
            pass
        else:
            raise AssertionError("the failure did not come through")

    assert ledger.intake.outcomes() == {ACCEPTED: 0, DUPLICATE: 0, DEAD: 0}
    assert ledger.intake.record([record(event("e1"), 0)]).redelivered == 0


def test_a_large_flood_is_taken_in_bulk(ledger: Ledger) -> None:
    records = [record(event(f"e{i}", f"Land {i}"), i) for i in range(4000)]
    statements = 0

    @sqlalchemy_event.listens_for(database_of(ledger).engine, "before_cursor_execute")
    def count(*_: object) -> None:
        nonlocal statements
        statements += 1

    for start in range(0, len(records), 500):
        ledger.intake.record(records[start : start + 500])

    assert statements / 8 < 20, "the number of statements must not grow with the number of records"
    assert ledger.intake.backlog() == 4000


def test_a_subject_is_found_by_any_of_its_names_in_any_case(story: Story) -> None:
    story.arrive(event("e1", "São Tomé", aliases=("St. Thomas",)), event("e2", "Elsewhere"))

    for name in ("são  TOMÉ", "st. thomas"):
        assert [edit.event_id for edit in story.ledger.audit.facts(subject=name)] == ["e1"]
    assert story.ledger.audit.facts(subject="Thomas") == []
