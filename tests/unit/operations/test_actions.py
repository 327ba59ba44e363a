"""What people do: seen before it is done, kept with who and why, and facts taken back by hand stay off."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from support.ledger.ledger_backends import Story, database_of, event

from daemon.ledger.errors import ForbiddenMove, HeadMoved, NotInLedger
from daemon.ledger.page_values import Preview
from daemon.ledger.values import Act
from daemon.operations import actions, queries
from edits.errors import BadRequest

ANN = Act("ann", "bad feed on Monday")


def answer(story: Story, subject: str) -> str | None:
    """What the model says of a subject's capital; None: what the base says."""
    live = [edit for edit in story.ledger.generations.live_edits() if edit.subject == subject]
    return live[0].target_new if live else None


def shown(preview: Preview) -> list[tuple[str, str | None, str | None]]:
    return [
        (one.subject, one.old.answer if one.old else None, one.new.answer if one.new else None)
        for one in preview.changes
    ]


def test_a_rollback_leaves_off_what_was_taken_back_by_hand(story: Story) -> None:
    (wrong, _) = story.go_live(event("a", "A", "wrong"), event("b", "B", "b1"))  # 1
    story.go_live(event("b2", "B", "b2", day=2))  # 2
    actions.undo_fact(story.ledger, wrong.id, ANN)  # 3

    preview = actions.preview_rollback(story.ledger, 1)
    assert shown(preview) == [("B", "b2", "b1")]
    assert [(one.subject, one.answer, one.why) for one in preview.kept] == [
        ("A", "wrong", "taken back by hand in generation 3")
    ]
    assert (preview.switched_off, preview.switched_on, preview.kept_off, preview.head) == (1, 1, 1, 3)
    made = actions.rollback(story.ledger, 1, ANN)

    assert made.number == 4
    assert (answer(story, "A"), answer(story, "B")) == (None, "b1")
    actions.rollback(story.ledger, 2, ANN)
    assert (answer(story, "A"), answer(story, "B")) == (None, "b2"), "and it stays off"


def test_what_was_put_by_hand_in_the_place_of_a_wrong_fact_stays_there(story: Story) -> None:
    story.go_live(event("a1", "A", "right"))  # 1
    (wrong,) = story.go_live(event("a2", "A", "wrong", day=2), event("b", "B"))[:1]  # 2
    actions.undo_fact(story.ledger, wrong.id, ANN, restore_previous=True)  # 3
    story.go_live(event("c", "C"))  # 4

    actions.rollback(story.ledger, 2, ANN)
    assert (answer(story, "A"), answer(story, "C")) == ("right", None)


def test_a_check_that_rolls_back_leaves_off_what_was_taken_back_by_hand(story: Story) -> None:
    (wrong,) = story.go_live(event("a", "A"))
    actions.undo_fact(story.ledger, wrong.id, ANN)
    story.go_live(event("b", "B"))

    story.ledger.generations.rollback_to(1, cause="regression failed", actor="regression check")
    assert (answer(story, "A"), answer(story, "B")) == (None, None)
    assert queries.generations(story.ledger).generations[0].actor == "regression check"


def test_a_generation_is_undone_as_far_as_it_still_stands(story: Story) -> None:
    story.go_live(event("a1", "A", "a1"), event("b1", "B", "b1"), event("d1", "D", "d1"))  # 1
    _, b2, _, _ = story.go_live(
        event("a2", "A", "a2", day=2),
        event("b2", "B", "b2", day=2),
        event("c2", "C", "c2", day=2),
        event("d2", "D", op="retract", day=2),
    )  # 2
    story.go_live(event("a3", "A", "a3", day=3))  # 3
    assert answer(story, "D") is None

    preview = actions.preview_undo_generation(story.ledger, 2)
    assert sorted(shown(preview), key=str) == [("B", "b2", "b1"), ("C", "c2", None), ("D", None, "d1")]
    assert [(one.subject, one.answer) for one in preview.kept] == [("A", "a1")]
    assert "is newer" in preview.kept[0].why
    made = actions.undo_generation(story.ledger, 2, ANN)

    assert [answer(story, one) for one in "ABCD"] == ["a3", "b1", None, "d1"]
    (line,) = queries.generations(story.ledger, limit=1).generations
    assert (line.kind, line.actor, line.cause) == (
        "undo_generation",
        "ann",
        "undo of generation 2: bad feed on Monday",
    )
    assert story.ledger.audit.edit(b2.id).state == "retracted"
    with pytest.raises(ForbiddenMove, match="nothing of generation 2 is left to undo"):
        actions.undo_generation(story.ledger, 2, ANN)
    actions.undo_generation(story.ledger, made.number, ANN)
    assert [answer(story, one) for one in "ABCD"] == ["a3", "b2", "c2", None], "an undo can be undone"
    with pytest.raises(ForbiddenMove, match="generation 0 is the base"):
        actions.preview_undo_generation(story.ledger, 0)
    with pytest.raises(NotInLedger, match="there is no generation 99"):
        actions.preview_undo_generation(story.ledger, 99)


def test_an_action_on_what_has_changed_since_it_was_seen_is_refused(story: Story) -> None:
    (edit,) = story.go_live(event("a", "A"))
    preview = actions.preview_undo_fact(story.ledger, edit.id)
    assert shown(preview) == [("A", "Elbing", None)]
    story.go_live(event("b", "B"))

    with pytest.raises(HeadMoved, match="generation 2 was published since generation 1: look again"):
        actions.undo_fact(story.ledger, edit.id, Act("ann", "wrong", expected_head=preview.head))
    assert answer(story, "A") == "Elbing"
    with pytest.raises(BadRequest, match="say why"):
        actions.undo_fact(story.ledger, edit.id, Act("ann", " "))
    assert queries.audit(story.ledger).entries == ()


def test_holds_stand_each_for_itself_until_they_are_released(story: Story) -> None:
    story.plan_urgently(event("a"))
    first = actions.hold(story.ledger, Act("ann", "audit on Monday"))
    second = actions.hold(story.ledger, Act("bob", "disk is full"))
    assert actions.hold(story.ledger, Act("bob", "disk is full")) is None, "said already"
    assert [(one.actor, one.reason) for one in queries.holds(story.ledger)] == [
        ("ann", "audit on Monday"),
        ("bob", "disk is full"),
    ]

    (ended,) = actions.release(story.ledger, Act("ann", "done"), hold_id=first)
    assert ended.reason == "audit on Monday"
    assert story.ledger.control.held() == "disk is full"
    assert story.ledger.batches.claim("w", lease_seconds=60) is None
    with pytest.raises(NotInLedger, match=f"there is no hold {first} that stands"):
        actions.release(story.ledger, ANN, hold_id=first)
    assert [one.id for one in actions.release(story.ledger, ANN)] == [second]
    assert story.ledger.batches.claim("w", lease_seconds=60) is not None


def test_the_audit_log_tells_who_did_what_and_why_and_cannot_be_changed(story: Story) -> None:
    (edit,) = story.go_live(event("a", "A"))
    actions.undo_fact(story.ledger, edit.id, ANN)
    actions.hold(story.ledger, Act("bob", "wait"))
    actions.release(story.ledger, Act("ann", ""))

    page = queries.audit(story.ledger, limit=2)
    assert [(one.actor, one.action, one.reason) for one in page.entries] == [
        ("ann", "release", ""),
        ("bob", "hold", "wait"),
    ]
    (first,) = queries.audit(story.ledger, before=page.next).entries
    assert (first.actor, first.action, first.reason) == ("ann", "undo_fact", "bad feed on Monday")
    assert first.target == {"edit": int(edit.id)}
    assert first.changed == {"generation": 2, "switched_off": 1, "switched_on": 0, "kept_off": 0}
    assert [one.action for one in queries.audit(story.ledger, actor="ann", action="release").entries] == [
        "release"
    ]
    for statement in ("UPDATE audit_log SET actor = 'eve'", "DELETE FROM audit_log"):
        with (
            pytest.raises(DBAPIError, match="append-only"),
            database_of(story.ledger).write() as connection,
        ):
            connection.execute(text(statement))
    assert len(queries.audit(story.ledger).entries) == 3


def test_what_failed_tries_again_by_somebody_for_a_reason(story: Story) -> None:
    (edit,) = story.plan_urgently(event("a"))
    batch = story.claim()
    story.ledger.batches.retry_later(batch.id, batch.token, reason="?", delay_seconds=0, max_attempts=1)

    assert actions.retry_quarantined(story.ledger, Act("ann", "the GPU was replaced")) == [edit.id]
    assert story.state(edit) == "pending"
    (entry,) = queries.audit(story.ledger).entries
    assert (entry.action, entry.target, entry.changed) == ("retry", {"edits": [int(edit.id)]}, {"pending": 1})
    with pytest.raises(ForbiddenMove):
        actions.retry(story.ledger, edit.id, ANN)
