"""`schedule.approval`: a nightly plan moves nothing until a person says so, and the urgent lane never waits."""

import json
from pathlib import Path

import pytest
from support.cli_support import Upkeep, site, upkeep
from support.ledger.ledger_backends import Clock, Story, event

from daemon.ledger import Ledger, open_ledger
from daemon.ledger.errors import ForbiddenMove, NotInLedger
from daemon.ledger.values import Act, EditState
from daemon.operations import actions
from daemon.planning.scheduler import Job, jobs_of
from daemon.settings.settings import Settings
from edits.errors import BadRequest

__all__ = ["site", "upkeep"]  # fixtures

ANNA = Act("anna", "looks right")


def nightly(ledger: Ledger, **schedule: object) -> Job:
    settings = Settings.model_validate(
        {"schedule": {"approval": True, **schedule}, "planner": {"embedding": "tfidf"}}
    )
    return next(job for job in jobs_of(settings, ledger) if job.name == "nightly_plan")


def test_a_nightly_plan_waits_for_a_person_while_urgent_edits_go_on(story: Story) -> None:
    ledger = story.ledger
    batch = story.arrive(event("b-1", "Norland"), event("b-2", "Sudland"))
    [urgent] = story.arrive(event("u-1", "Westmark", priority="urgent"))

    answered = nightly(ledger).work()

    assert "waits for approval" in answered
    assert [story.state(edit) for edit in (*batch, urgent)] == ["pending", "pending", "planned"]
    waiting = ledger.proposals.waiting()
    assert waiting is not None
    assert {edit_id for one in waiting.plan.batches for edit_id in one.edit_ids} == {e.id for e in batch}

    plan = actions.approve_plan(ledger, waiting.id, ANNA)

    assert [story.state(edit) for edit in batch] == ["planned", "planned"]
    assert ledger.plans.get(plan).batches == waiting.plan.batches
    assert not ledger.proposals.is_waiting()
    decided = ledger.proposals.get(waiting.id)
    assert (decided.state, decided.decided_by, decided.plan_id) == ("approved", "anna", plan)
    [entry] = ledger.audit_log.page().entries
    assert (entry.actor, entry.action, entry.reason) == ("anna", "approve_plan", "looks right")
    assert (entry.target, entry.changed) == ({"proposal": waiting.id}, {"plan": plan})


def test_edits_that_moved_since_a_plan_was_proposed_are_left_out(story: Story) -> None:
    first, second = story.arrive(event("b-1", "Norland"), event("b-2", "Sudland"))
    nightly(story.ledger).work()
    waiting = story.ledger.proposals.waiting()
    assert waiting is not None
    story.plan([first])  # somebody planned it by hand meanwhile

    plan = actions.approve_plan(story.ledger, waiting.id, ANNA)

    assert [one.edit_ids for one in story.ledger.plans.get(plan).batches] == [(second.id,)]


def test_a_declined_plan_leaves_its_edits_pending_for_the_next_night(story: Story) -> None:
    [edit] = story.arrive(event("b-1", "Norland"))
    nightly(story.ledger).work()
    waiting = story.ledger.proposals.waiting()
    assert waiting is not None
    with pytest.raises(BadRequest, match="say why"):
        actions.decline_plan(story.ledger, waiting.id, Act("anna", " "))

    actions.decline_plan(story.ledger, waiting.id, Act("anna", "wrong feed"))

    assert story.ledger.audit.edit(edit.id).state is EditState.PENDING
    for again in (actions.approve_plan, actions.decline_plan):
        with pytest.raises(ForbiddenMove, match="was declined"):
            again(story.ledger, waiting.id, ANNA)
    nightly(story.ledger).work()
    anew = story.ledger.proposals.waiting()
    assert anew is not None
    assert anew.id > waiting.id


def test_a_newer_proposal_takes_the_older_ones_place(story: Story) -> None:
    story.arrive(event("b-1", "Norland"))
    nightly(story.ledger).work()
    older = story.ledger.proposals.waiting()
    story.arrive(event("b-2", "Sudland"))
    nightly(story.ledger).work()
    newer = story.ledger.proposals.waiting()

    assert older is not None
    assert newer is not None
    assert sum(len(batch.edit_ids) for batch in newer.plan.batches) == 2
    with pytest.raises(ForbiddenMove, match="was replaced"):
        actions.approve_plan(story.ledger, older.id, ANNA)
    with pytest.raises(NotInLedger):
        actions.approve_plan(story.ledger, 99, ANNA)


def test_without_approval_a_nightly_plan_is_put_to_work_at_once(story: Story) -> None:
    [edit] = story.arrive(event("b-1", "Norland"))
    assert "plan 1" in nightly(story.ledger, approval=False).work()
    assert story.state(edit) == "planned"
    assert not story.ledger.proposals.is_waiting()


def test_the_command_shows_what_waits_asks_and_decides(upkeep: Upkeep, site: Path) -> None:
    with open_ledger(f"sqlite:///{site}/upkeep-data/ledger.db") as ledger:
        ledger.migrate()
        assert upkeep("approve").out == "no plan waits for approval\n"
        story = Story(ledger, Clock())
        edits = story.arrive(event("b-1", "Norland", "Rungholt"), event("b-2", "Sudland", "Kappa"))
        nightly(ledger).work()

        shown = upkeep("approve", "--dry-run")
        assert "Rungholt" in shown.out
        assert story.state(edits[0]) == "pending"
        assert upkeep("approve").code == 2, "there is nobody to ask"
        declined = json.loads(upkeep("approve", "--decline", "--yes", "--reason", "later", "--json").out)
        assert (declined["decided"], declined["plan"]) == ("declined", None)
        nightly(ledger).work()
        approved = json.loads(upkeep("approve", "--yes", "--reason", "looked at it", "--json").out)
        assert approved["decided"] == "approved"
        assert [story.state(edit) for edit in edits] == ["planned", "planned"]
        assert [one.reason for one in ledger.audit_log.page().entries] == ["looked at it", "later"]
