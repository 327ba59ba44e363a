"""Who or what had a plan made: the ledger keeps it, and timeline, `upkeep log` and the fact's page say it in words."""

import getpass
import json
from pathlib import Path

from sqlalchemy import text
from support.cli_support import Upkeep, site, upkeep
from support.ledger.ledger_backends import BEFORE_0010, Clock, Story, database_of, event

from daemon.ledger import Ledger, open_ledger
from daemon.ledger.values import Act, Plan, PlanCause, PlanTrigger
from daemon.operations import actions, queries
from daemon.operations.plan_causes import cause_of_batch, planned_by
from daemon.planning.scheduler import Job, jobs_of
from daemon.settings.settings import Settings

__all__ = ["site", "upkeep"]  # fixtures

ANNA = Act("anna", "looks right")


def job(ledger: Ledger, name: str, **schedule: object) -> Job:
    settings = Settings.model_validate({"schedule": schedule, "planner": {"embedding": "tfidf"}})
    return next(job for job in jobs_of(settings, ledger) if job.name == name)


def newest_cause(story: Story) -> str | None:
    """What the newest plan's batch says, once it is published."""
    batch = story.claim()
    story.publish(batch)
    line = queries.generations(story.ledger, limit=1).generations[0]
    [edit] = batch.edits
    page = queries.fact_page(story.ledger, edit.id)
    assert page.batch is not None
    assert page.batch.planned_by == line.planned_by == story.ledger.plans.latest(1)[0].cause
    return cause_of_batch(line)


def test_the_schedule_the_urgent_lane_and_a_person_are_told_apart(story: Story) -> None:
    story.arrive(event("u", "Westmark", priority="urgent"))
    job(story.ledger, "urgent_plan").work()
    assert newest_cause(story) == "the urgent lane's schedule"

    story.arrive(event("n", "Norland"))
    job(story.ledger, "nightly_plan").work()
    assert newest_cause(story) == "the nightly schedule"

    story.arrive(event("a", "Sudland"))
    job(story.ledger, "nightly_plan", approval=True).work()
    waiting = story.ledger.proposals.waiting()
    assert waiting is not None
    actions.approve_plan(story.ledger, waiting.id, ANNA)
    assert newest_cause(story) == "the nightly schedule, approved by anna: looks right"


def test_a_plan_of_which_nobody_said_why_is_not_recorded_and_the_base_has_none(story: Story) -> None:
    story.go_live(event("a"))
    batch, start = queries.generations(story.ledger).generations
    assert (cause_of_batch(batch), cause_of_batch(start)) == ("(not recorded)", None)


def test_what_a_command_planned_has_its_person_and_stands_in_the_audit_log(
    upkeep: Upkeep, site: Path, clock: Clock
) -> None:
    with open_ledger(f"sqlite:///{site}/upkeep-data/ledger.db", clock=clock) as ledger:
        ledger.migrate()
        story = Story(ledger, clock)
        story.arrive(event("a"))
        made = json.loads(upkeep("plan", "--reason", "cannot wait", "--json").out)
        words = f"{getpass.getuser()}, by hand: upkeep plan: cannot wait"
        assert made["plan"]["cause"] == {
            "trigger": "command",
            "actor": getpass.getuser(),
            "reason": "upkeep plan: cannot wait",
        }
        assert newest_cause(story) == words
        assert f"planned by {words}" in upkeep("log").out
        [entry] = queries.audit(ledger).entries
        assert (entry.action, entry.reason) == ("plan", "upkeep plan: cannot wait")
        assert entry.changed == {"plan": made["plan"]["id"]}


def test_of_the_plans_of_earlier_releases_those_that_somebody_approved_are_known(story: Story) -> None:
    ledger = story.ledger
    story.arrive(event("old", "Norland"))
    forgotten = ledger.plans.store(Plan(None, 0, ()))
    job(ledger, "nightly_plan", approval=True).work()
    waiting = ledger.proposals.waiting()
    assert waiting is not None
    approved = actions.approve_plan(ledger, waiting.id, ANNA)
    with database_of(ledger).write() as connection:
        for statement in (*BEFORE_0010, "UPDATE alembic_version SET version_num = '0009'"):
            connection.execute(text(statement))

    ledger.migrate()
    assert ledger.plans.get(forgotten).cause is None
    assert ledger.plans.get(approved).cause == PlanCause(PlanTrigger.APPROVAL, "anna", "looks right")
    assert planned_by(None) == "(not recorded)"
