"""`upkeep approve`: decide about the nightly plan that waits for a person (`schedule.approval`)."""

from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    ReasonOption,
    YesOption,
    agreed,
    one_off_ledger,
)
from edits.text import counted

if TYPE_CHECKING:
    from daemon.ledger import Ledger
    from daemon.ledger.values import Proposal

SHOWN_CHANGES = 50


def approve(
    decline: Annotated[
        bool, typer.Option("--decline", help="Leave all its edits pending: the next night drafts them anew.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what waits, and end.")] = False,
    reason: ReasonOption = None,
    yes: YesOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Put the nightly plan that waits for a person to work, or decline it; shows what it changes and asks.

    Plans wait where `schedule.approval = true`.

    \b
    Example:
      upkeep approve --dry-run
      upkeep approve --reason "looked at it" --yes
      upkeep approve --decline
    """
    from daemon.cli.output import console, print_json
    from daemon.ledger.values import Act
    from daemon.operations import actions

    with one_off_ledger(config) as ledger:
        proposal, plan = ledger.proposals.waiting(), None
        if proposal is not None and not as_json:
            _print_proposal(ledger, proposal)
        if proposal is not None and not dry_run:
            act = Act(
                actions.person(), agreed("Decline it?" if decline else "Do it?", yes=yes, reason=reason)
            )
            if decline:
                actions.decline_plan(ledger, proposal.id, act)
            else:
                plan = actions.approve_plan(ledger, proposal.id, act)
    if as_json:
        decided = None if proposal is None or dry_run else "declined" if decline else "approved"
        print_json({"proposal": proposal, "decided": decided, "plan": plan})
    elif proposal is None:
        console().print("no plan waits for approval")
    elif not dry_run:
        console().print("declined: its edits stay pending" if plan is None else f"it is plan {plan} now")


def _print_proposal(ledger: "Ledger", proposal: "Proposal") -> None:
    from daemon.cli.output import console, table
    from daemon.planning.planned_changes import changes_of_plan

    found = changes_of_plan(ledger, proposal.plan, limit=SHOWN_CHANGES)
    rows = [
        (
            *(one.edit.id, one.edit.prompt or one.edit.subject),
            one.old.target_new if one.old is not None else "(the base's)",
            one.edit.target_new or "(the base's)",
            one.batch,
        )
        for one in found.changes
    ]
    more = f"; {found.more} more {'is' if found.more == 1 else 'are'} not shown" if found.more else ""
    title = f"proposed plan {proposal.id}: {counted(len(proposal.plan.batches), 'batch')}{more}"
    console().print(table(title, ("edit", "asked", "answer now", "answer then", "batch"), rows))
