"""`upkeep status`: where everything stands."""

from typing import Any

import typer

from daemon.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption, ledger_of, one_off_settings


def register(app: typer.Typer) -> None:
    """Add the command to the table of contents."""
    app.command("status", rich_help_panel="Facts")(status)


def status(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show where everything stands: generation, edits, records, workers, jobs, checks."""
    from daemon.cli.output import print_json

    settings = one_off_settings(config)
    with ledger_of(settings) as ledger:
        head = ledger.generations.head()
        report: dict[str, Any] = {
            "ledger": settings.ledger.shown_url,
            "store": settings.store.path,
            "generation": None
            if head is None
            else {"number": head.number, "cause": head.cause, "created_at": head.created_at},
            "edits": ledger.audit.counts(),
            "records": ledger.intake.outcomes(),
            "backlog": ledger.intake.backlog(),
            "held": ledger.control.held(),
            "workers": ledger.control.workers(),
            "jobs": ledger.jobs.last_success(),
            "checks": ledger.checks.latest(),
            "check_failure": ledger.checks.failure(),
        }
    if as_json:
        print_json(report)
    else:
        _print_status(report)


def _print_status(report: dict[str, Any]) -> None:
    from daemon.cli.output import console, shown, table

    out = console()
    head = report["generation"]
    now = (
        f"{head['number']} ({shown(head['cause'])}, {shown(head['created_at'])})"
        if head
        else "none yet: no worker has loaded the base"
    )
    out.print(f"generation {now}", markup=False)
    out.print(f"ledger     {report['ledger']}\nstore      {report['store']}", markup=False, soft_wrap=True)
    if report["held"]:
        out.print(f"HELD       {shown(report['held'])} (`upkeep release` lets work go on)", markup=False)
    out.print(table("edits", ("state", "edits"), report["edits"].items()))
    out.print(table("Kafka records", ("outcome", "records"), report["records"].items()))
    if report["check_failure"]:
        out.print(f"the newest check could not be run: {shown(report['check_failure'])}", markup=False)
    workers = [(seen.worker, seen.device, seen.batch_id, seen.seen_at) for seen in report["workers"]]
    if workers:
        out.print(table("workers", ("worker", "device", "batch", "last seen"), workers))
    if report["jobs"]:
        out.print(table("jobs", ("job", "last success"), report["jobs"].items()))
    checks = [
        (check.suite, "passed" if check.passed else "FAILED", check.generation, check.probes, check.at)
        for check in report["checks"]
    ]
    if checks:
        out.print(table("newest checks", ("suite", "verdict", "generation", "probes", "at"), checks))
