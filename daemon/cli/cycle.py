"""`upkeep plan`, `apply`, `hold` and `release`: what the scheduler and the worker do, by hand."""

from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.check import check
from daemon.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption, ledger_of, one_off_settings
from daemon.cli.plan import plan

if TYPE_CHECKING:
    from pathlib import Path


def register(app: typer.Typer) -> None:
    """Add the commands to the table of contents."""
    for command in (plan, apply, check, hold, release):
        app.command(rich_help_panel="Maintenance")(command)


def apply(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Run one maintenance cycle now: plan both lanes, then train, verify and publish what can be done now.

    Works beside a running daemon: a batch is claimed by one worker only.
    """
    from daemon.cli.output import console, print_json, table
    from daemon.ledger.values import Lane
    from daemon.planning.cycle import plan_cycle

    settings = one_off_settings(config)
    settings.model.required_path()
    from daemon.work.worker import work_until_idle  # loads torch: after the settings, which may be wrong

    with ledger_of(settings) as ledger:
        plan_cycle(ledger, settings, lanes=(Lane.URGENT, Lane.BATCH))
        before = ledger.audit.counts()
        with console().status("training, verifying, publishing ..."):
            work_until_idle(settings)
        after, head, held = ledger.audit.counts(), ledger.generations.head(), ledger.control.held()
    number = head.number if head else None
    if as_json:
        print_json({"generation": number, "edits": after, "held": held})
        return
    rows = [(state.value, before[state], after[state]) for state in after]
    console().print(table("edits", ("state", "before", "after"), rows))
    console().print(f"generation {number}" + (f"; batches are held: {held}" if held else ""), markup=False)


def hold(
    reason: Annotated[str, typer.Argument(help="Why; `upkeep status` shows it.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Let no worker claim another batch until `upkeep release`."""
    _set_hold(config, reason, as_json=as_json)


def release(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Let workers claim batches again."""
    _set_hold(config, None, as_json=as_json)


def _set_hold(config: "Path", reason: str | None, *, as_json: bool) -> None:
    from daemon.cli.output import print_json

    with ledger_of(one_off_settings(config)) as ledger:
        if reason is None:
            ledger.control.release()
        else:
            ledger.control.hold(reason)
        held = ledger.control.held()
    if as_json:
        print_json({"held": held})
    else:
        typer.echo("batches are released" if held is None else "batches are held")
