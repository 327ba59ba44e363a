"""`upkeep plan`, `apply`, `hold` and `release`: what the scheduler and the worker do, by hand."""

from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    PlanReasonOption,
    ledger_of,
    one_off_ledger,
    one_off_settings,
)

if TYPE_CHECKING:
    from daemon.ledger.page_values import BatchLine
    from daemon.ledger.values import Hold

EXIT_TRY_LATER = 75


def apply(
    wait: Annotated[
        float,
        typer.Option("--wait", min=0, help="Wait so many seconds for batches that another worker has."),
    ] = 600.0,
    reason: PlanReasonOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Run one maintenance cycle now: plan both lanes, then train, verify and publish what was planned.

    Works beside a running daemon: a batch is claimed by one worker only, and what others have is waited for.
    Exit code 75 where batches of the plan are still open in the end; it says which.
    """
    from daemon.cli.output import console, print_json, table
    from daemon.ledger.values import Lane
    from daemon.operations.plan_causes import by_command
    from daemon.planning.cycle import plan_cycle

    settings = one_off_settings(config)
    settings.model.required_path()
    from daemon.work.worker import work_until_idle  # loads torch: after the settings, which may be wrong

    with ledger_of(settings) as ledger:
        cause = by_command("upkeep apply", reason)
        planned = plan_cycle(ledger, settings, lanes=(Lane.URGENT, Lane.BATCH), cause=cause)

        def left() -> "list[BatchLine]":
            stored = None if planned is None else planned.id
            return [] if stored is None else ledger.batch_lists.of_plan(stored)

        before = ledger.audit.counts()
        with console().status("training, verifying, publishing ..."):
            work_until_idle(
                settings, lambda: not left() or ledger.control.held() is not None, wait_seconds=wait
            )
        after, head, held = ledger.audit.counts(), ledger.generations.newest(), ledger.control.held()
        still = left()
    number = head.number if head else None
    if as_json:
        plan_id = planned.id if planned is not None else None
        print_json({"generation": number, "edits": after, "held": held, "plan": plan_id, "open": still})
    else:
        rows = [(state.value, before[state], after[state]) for state in after]
        console().print(table("edits", ("state", "before", "after"), rows))
        console().print(
            f"generation {number}" + (f"; batches are held: {held}" if held else ""), markup=False
        )
        _print_open(still)
    if still:
        raise typer.Exit(EXIT_TRY_LATER)


def _print_open(still: "list[BatchLine]") -> None:
    from daemon.cli.output import console, table

    if still:
        batches = [(one.id, one.state, one.edits, one.worker, one.free_at) for one in still]
        columns = ("batch", "state", "edits", "worker", "lease or next try")
        console().print(table("still open", columns, batches))


def hold(
    reason: Annotated[
        str | None, typer.Argument(help="Why; without it, what holds the batches is listed.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Let no worker claim another batch until `upkeep release`, or list what holds the batches.

    Every hold stands for itself: with its reason, who gave it, and when.

    \b
    Example:
      upkeep hold "audit on Monday"
      upkeep hold
    """
    from daemon.ledger.values import Act
    from daemon.operations import actions

    with one_off_ledger(config) as ledger:
        if reason is not None:
            actions.hold(ledger, Act(actions.person(), reason))
        holds = ledger.control.holds()
    _print_holds(holds, [], as_json=as_json)


def release(
    hold_id: Annotated[
        int | None, typer.Option("--id", min=1, help="Only this hold, as `upkeep hold` lists it.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; stands in the audit log.")] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """End every hold, or one: with the last one, workers claim batches again."""
    from daemon.ledger.values import Act
    from daemon.operations import actions

    with one_off_ledger(config) as ledger:
        ended = actions.release(ledger, Act(actions.person(), reason), hold_id=hold_id)
        holds = ledger.control.holds()
    _print_holds(holds, ended, as_json=as_json)


def _print_holds(holds: "list[Hold]", released: "list[Hold]", *, as_json: bool) -> None:
    from daemon.cli.output import console, print_json, table

    if as_json:
        held = holds[0].reason if holds else None
        print_json({"held": held, "holds": holds, "released": released})
        return
    for one in released:
        console().print(f"released hold {one.id}: {one.reason}", markup=False)
    if holds:
        rows = [(one.id, one.at, one.actor, one.reason) for one in holds]
        console().print(table("batches are held", ("hold", "since", "by", "why"), rows))
    else:
        console().print("batches are not held")
