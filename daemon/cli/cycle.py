"""`upkeep plan`, `apply`, `check`, `hold` and `release`: what the scheduler and the worker do, by hand."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption, ledger_of, settings_for_errand
from editors.errors import PermanentError, TemporaryError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from daemon.ledger import Ledger
    from daemon.ledger.values import CheckResult, ClaimedCheck, Lane, Plan
    from daemon.settings import Settings
    from monitoring.regression import AnswersPrompts


class LaneChoice(StrEnum):
    """Which pending edits are planned."""

    ALL = "all"
    URGENT = "urgent"
    BATCH = "batch"


LaneOption = Annotated[LaneChoice, typer.Option("--lane", help="Plan only the edits of this lane.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the table of contents."""
    for command in (plan, apply, check, hold, release):
        app.command(rich_help_panel="Maintenance")(command)


def plan(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, store nothing.")] = False,
    lane: LaneOption = LaneChoice.ALL,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Plan what is pending: who wins each conflict, which edits form a batch, in which order, and why.

    A stored plan is worked off by the workers; `upkeep apply` does both at once.

    \b
    Example:
      upkeep plan --dry-run
      upkeep plan --lane urgent --json
    """
    from daemon.cli.output import console, print_json
    from daemon.maintenance import plan_cycle

    settings = settings_for_errand(config)
    with ledger_of(settings) as ledger:
        made = plan_cycle(ledger, settings, lanes=_lanes(lane), dry_run=dry_run)
    if as_json:
        print_json({"plan": made, "stored": made is not None and not dry_run})
    elif made is None:
        console().print("nothing is pending")
    else:
        _print_plan(made, stored=not dry_run)


def apply(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Run one maintenance cycle now: plan both lanes, then train, verify and publish what can be done now.

    Works beside a running daemon: a batch is claimed by one worker only.
    """
    from daemon.cli.output import console, print_json, table
    from daemon.maintenance import plan_cycle

    settings = settings_for_errand(config)
    settings.model.required_path()
    from daemon.worker import work_until_idle  # loads torch: after the settings, which may be wrong

    with ledger_of(settings) as ledger:
        plan_cycle(ledger, settings, lanes=_lanes(LaneChoice.ALL))
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


def check(
    suite: Annotated[str | None, typer.Option("--suite", help="Only this suite.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Run one locality regression now: is everything that no edit concerns still as the base says it?

    The result is kept as a worker's would be, and `monitoring.on_failure` is obeyed. Exit code 1 when a
    suite is under its floor.
    """
    from daemon.cli.output import console, print_json

    settings = settings_for_errand(config)
    settings.model.required_path()
    from daemon.runtime import open_model  # loads torch: after the settings, which may be wrong

    with ledger_of(settings) as ledger, console().status("asking the probes ..."):
        results, outcome = _check_now(ledger, settings, open_model(settings, ledger), suite)
    if as_json:
        passed = all(result.passed for result in results)
        print_json({"checks": results, "passed": passed, "outcome": outcome})
    else:
        _print_checks(results, outcome)
    if not all(result.passed for result in results):
        raise typer.Exit(1)


def hold(
    reason: Annotated[str, typer.Argument(help="Why; `upkeep status` shows it.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Let no worker claim another batch until `upkeep release`."""
    _tell_held(config, reason, as_json=as_json)


def release(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Let workers claim batches again."""
    _tell_held(config, None, as_json=as_json)


def _tell_held(config: "Path", reason: str | None, *, as_json: bool) -> None:
    from daemon.cli.output import print_json

    with ledger_of(settings_for_errand(config)) as ledger:
        if reason is None:
            ledger.control.release()
        else:
            ledger.control.hold(reason)
        held = ledger.control.held()
    if as_json:
        print_json({"held": held})
    else:
        typer.echo("batches are released" if held is None else "batches are held")


def _lanes(choice: LaneChoice) -> "Sequence[Lane]":
    from daemon.ledger.values import Lane

    return (Lane.URGENT, Lane.BATCH) if choice is LaneChoice.ALL else (Lane(choice.value),)


def _check_now(
    ledger: "Ledger", settings: "Settings", model: "AnswersPrompts", suite: str | None
) -> "tuple[list[CheckResult], str]":
    """Ask for a check and run it like a worker, after the older requests that nobody has run yet."""
    from daemon.ledger import utc_now
    from daemon.regression import OWN_SUITES, apply_policy, run_checks

    lease = settings.worker.lease_seconds

    known = (*OWN_SUITES, *settings.monitoring.suites)
    if suite is not None and suite not in known:  # else every worker would stumble over the request
        raise PermanentError(f"no suite is called {suite!r}; known: {', '.join(known)}")
    asked = ledger.checks.request(suite, "by hand")
    while claimed := ledger.checks.claim("upkeep check", lease_seconds=lease):
        results = _run_claimed(ledger, settings, model, claimed)
        outcome = apply_policy(ledger, settings, results)
        if claimed.id == asked:
            return results, outcome
    # A worker of the running daemon was quicker: its result is in the ledger, ours is only told.
    return run_checks(ledger, settings, model, suite=suite, clock=utc_now), "a worker checks this as well"


def _run_claimed(
    ledger: "Ledger", settings: "Settings", model: "AnswersPrompts", claimed: "ClaimedCheck"
) -> "list[CheckResult]":
    """Run a claimed check under a lease that is kept alive; however it ends, the request is not left leased."""
    from contextlib import suppress

    from daemon.lease import kept
    from daemon.ledger import utc_now
    from daemon.regression import run_checks

    checks, lease = ledger.checks, settings.worker.lease_seconds
    try:
        with kept(
            lambda: checks.heartbeat(claimed.id, claimed.token, lease_seconds=lease), every_seconds=lease / 3
        ):
            results = run_checks(ledger, settings, model, suite=claimed.suite, clock=utc_now)
    except (TemporaryError, KeyboardInterrupt):  # a worker can do it
        with suppress(TemporaryError):
            checks.release(claimed.id, claimed.token)
        raise
    except Exception as error:  # a worker would fail like us
        with suppress(TemporaryError):
            checks.fail(claimed.id, claimed.token, f"{type(error).__name__}: {error}")
        raise
    checks.finish(claimed.id, claimed.token, results)
    return results


def _print_plan(plan: "Plan", *, stored: bool) -> None:
    from daemon.cli.output import console, table

    told = plan.explanation
    notes = {note["sequence"]: note for note in told.get("batches", ())}
    rows = [
        (
            *(batch.sequence, batch.lane, batch.editor or "(none: retraction)", len(batch.edit_ids)),
            *_note_cells(notes.get(batch.sequence, {})),
            batch.reason,
        )
        for batch in plan.batches
    ]
    title = f"plan {plan.id}" if stored else "plan (dry run: nothing is stored)"
    columns = ("#", "lane", "editor", "edits", "within", "nearest", "relations", "reason")
    console().print(table(title, columns, rows))
    if "clusters" in told:
        console().print(
            f"batch lane: {told['clusters']} clusters ({told['clustering']} over {told['embedding']}, "
            f"seed {told['seed']}); similarity {_cosine(told['within'])} within batches, "
            f"{_cosine(told['between'])} between; order {told['order']!r}",
            markup=False,
        )
    if plan.superseded:
        lost = [(loss.loser_id, loss.winner_id) for loss in plan.superseded]
        console().print(table("superseded before they are applied", ("edit", "by the newer edit"), lost))


def _note_cells(note: "Mapping[str, Any]") -> tuple[str, str, str]:
    """How alike a batch's edits are, its nearest batch, its commonest relations; dashes outside the batch lane."""
    nearest = note.get("nearest")
    like = "-" if nearest is None else f"#{nearest} ({_cosine(note.get('nearest_similarity'))})"
    relations = ", ".join(f"{name} {count}" for name, count in note.get("relations", {}).items())
    return _cosine(note.get("within")), like, relations


def _cosine(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _print_checks(results: "Sequence[CheckResult]", outcome: str) -> None:
    from daemon.cli.output import console, shown, table

    if not results:
        console().print("no suite has probes yet: name some in [monitoring] suites")
        return
    rows = [
        (
            result.suite,
            "passed" if result.passed else "FAILED",
            result.generation,
            result.probes,
            ", ".join(f"{name} {shown(score)}" for name, score in result.scores.items() if score is not None),
        )
        for result in results
    ]
    console().print(
        table("locality regression", ("suite", "verdict", "generation", "probes", "scores"), rows)
    )
    console().print(f"outcome: {outcome}", markup=False)
