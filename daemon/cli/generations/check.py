"""`upkeep check`: one regression check by hand, and the report of all that were run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption, ledger_of, one_off_settings
from edits.errors import TemporaryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daemon.checks.check_policy import CheckOutcome
    from daemon.ledger import Ledger
    from daemon.ledger.values import CheckKind, CheckResult, ClaimedCheck
    from daemon.settings.settings import Settings
    from monitoring.checks.regression import AnswersPrompts

BY_HAND = "upkeep check"
_WITHOUT_FAR = (
    "no far probe was asked: nothing here says that unrelated prompts are answered as before. Set far in "
    "[monitoring.suites] to a file of such prompts"
)


def check(
    suite: Annotated[str | None, typer.Option("--suite", help="Only this suite.")] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Every probe and every live edit, not a sample.")
    ] = False,
    parity: Annotated[
        bool, typer.Option("--parity", help="Only whether the gateway answers as the model in process does.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option("--report", help="Write the checks so far into DIR/report.html.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Run one locality regression now: is everything that no edit concerns still as the base says it?

    The result is kept as a worker's would be, and `monitoring.on_failure` is obeyed. Exit code 1 when a
    suite is under its floor, or has moved against its own past. With `--parity` the gateway is compared instead; exit
    code 75 where that could not be measured.

    \b
    Example:
      upkeep check --suite far
      upkeep check --parity
      upkeep check --full --report reports/
    """
    from daemon.checks.check_suites import lacks_far, require_known
    from daemon.cli.output import console, print_json
    from daemon.ledger.values import CheckKind

    settings = one_off_settings(config)
    settings.model.required_path()
    if parity and (suite is not None or full or settings.gateway.url is None):
        raise typer.BadParameter("--parity stands alone, and needs gateway.url in the settings")
    require_known(suite, settings)  # else every worker would stumble over the request
    from daemon.served_model import open_model  # loads torch: after the settings, which may be wrong

    with ledger_of(settings) as ledger:
        with console().status("asking the probes ..."):
            model = open_model(settings, ledger)
            ledger.reversals.finish()  # what is asked goes by the states of edits
            kind = CheckKind.PARITY if parity else CheckKind.FULL if full else CheckKind.SAMPLE
            results, outcome = _check_now(ledger, settings, model, suite, kind=kind)
        if outcome == "not measured":
            raise TemporaryError(ledger.checks.failure() or "the gateway could not be compared")
        written = _write_report(ledger, settings, report) if report is not None else None
    passed = all(result.passed for result in results)
    without_far = suite is None and lacks_far(results)
    if as_json:
        print_json(
            {
                "checks": results,
                "passed": passed,
                "outcome": outcome,
                "report": written,
                "without_far": without_far,
            }
        )
    else:
        _print_checks(results, outcome)
        if without_far:
            console().print(_WITHOUT_FAR)
        if written is not None:
            console().print(f"report: {written}", markup=False)
    if not passed:
        raise typer.Exit(1)


def _check_now(
    ledger: "Ledger",
    settings: "Settings",
    model: "AnswersPrompts",
    suite: str | None,
    *,
    kind: "CheckKind | None" = None,
) -> "tuple[list[CheckResult], str]":
    """Ask for a check and run it like a worker, after the older requests that nobody has run yet.

    Where the check fails, the search for the culprits is run as well, unless a worker is quicker.
    """
    from daemon.checks.claimed_check import run_checks
    from daemon.ledger import utc_now
    from daemon.ledger.values import CheckKind

    lease = settings.worker.lease_seconds
    kind = kind or CheckKind.SAMPLE
    asked = ledger.checks.request(suite, "by hand", kind=kind)
    kinds = {kind} if kind is CheckKind.PARITY else {kind, CheckKind.SAMPLE}
    while claimed := ledger.checks.claim(BY_HAND, lease_seconds=lease, kinds=kinds):
        results, outcome = _run_claimed(ledger, settings, model, claimed)
        if claimed.id != asked:
            continue
        found: list[str] = [outcome]
        while case := ledger.checks.claim(BY_HAND, lease_seconds=lease, kinds={CheckKind.BLAME}):
            found.append(_run_claimed(ledger, settings, model, case)[1])
        return results, ", ".join(found)
    # A worker of the running daemon was quicker: its result is in the ledger, ours is only printed.
    if kind is CheckKind.PARITY:
        raise TemporaryError(
            "a worker compares the gateway at this moment: `upkeep status` will say what it found"
        )
    full = kind is CheckKind.FULL
    results = run_checks(ledger, settings, model, suite=suite, full=full, clock=utc_now)
    return results, "a worker checks this as well"


def _run_claimed(
    ledger: "Ledger", settings: "Settings", model: "AnswersPrompts", claimed: "ClaimedCheck"
) -> "tuple[list[CheckResult], CheckOutcome]":
    """Run a claimed check under a lease that is kept alive; however it ends, the request is not left leased."""
    from contextlib import suppress

    from daemon.checks.claimed_check import work_on_check
    from daemon.ledger import utc_now
    from daemon.work.lease import keep_alive

    checks, lease = ledger.checks, settings.worker.lease_seconds
    try:
        with keep_alive(
            lambda: checks.heartbeat(claimed.id, claimed.token, lease_seconds=lease), every_seconds=lease / 3
        ):
            return work_on_check(ledger, settings, model, claimed, clock=utc_now)
    except (TemporaryError, KeyboardInterrupt):  # a worker can do it
        with suppress(TemporaryError):
            checks.release(claimed.id, claimed.token)
        raise
    except Exception as error:  # a worker would fail like us
        with suppress(TemporaryError):
            checks.fail(claimed.id, claimed.token, f"{type(error).__name__}: {error}")
        raise


def _write_report(ledger: "Ledger", settings: "Settings", folder: Path) -> str:
    """Write the page; where it is."""
    from daemon.checks.check_report import check_report
    from daemon.ledger import utc_now
    from edits.errors import PermanentError
    from monitoring.checks.report import render

    path = folder / "report.html"
    page = render(check_report(ledger, clock=utc_now, settings=settings))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise PermanentError(f"--report {folder}: cannot be written: {error.strerror}") from error
    return str(path)


def _print_checks(results: "Sequence[CheckResult]", outcome: str) -> None:
    from daemon.cli.output import console, shown, table

    if not results:
        console().print("no suite has probes yet: name some in [monitoring] suites", markup=False)
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
