"""`upkeep retry`: let edits that failed try again, once what they failed at has been put right."""

from typing import Annotated

import typer

from daemon.cli.options import BY_HAND, DEFAULT_CONFIG, ConfigOption, JsonOption, ReasonOption, one_off_ledger
from edits.text import counted


def retry(
    edit: Annotated[
        int | None, typer.Option("--edit", help="This edit; it must be rejected or quarantined.")
    ] = None,
    all_quarantined: Annotated[
        bool,
        typer.Option("--all-quarantined", help="Every edit that was given up after failures by accident."),
    ] = False,
    reason: ReasonOption = BY_HAND,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Let rejected or quarantined edits try again: they are pending, and the next plan takes them in.

    An edit whose fact has a newer value by now is superseded by that plan.

    \b
    Example:
      upkeep facts --state quarantined      (which, and why?)
      upkeep retry --all-quarantined --reason "the GPU was replaced"
      upkeep retry --edit 17
    """
    from daemon.cli.output import console, print_json
    from daemon.ledger.values import Act
    from daemon.operations import actions

    if (edit is None) == (not all_quarantined):
        raise typer.BadParameter("name either --edit or --all-quarantined")
    act = Act(actions.person(), reason or BY_HAND)
    with one_off_ledger(config) as ledger:
        if edit is not None:
            again = [str(edit)]
            actions.retry(ledger, again[0], act)
        else:
            again = actions.retry_quarantined(ledger, act)
    if as_json:
        print_json({"pending": again, "cause": f"retry: {act.reason}"})
    else:
        console().print(
            f"{counted(len(again), 'edit', 'is', 'are')} pending again; `upkeep apply` trains what is pending now",
            markup=False,
        )
