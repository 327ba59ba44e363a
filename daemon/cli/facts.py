"""`upkeep status` and `upkeep facts`: where everything stands, and how each edit came there."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption, ledger_of, one_off_settings

if TYPE_CHECKING:
    from daemon.ledger.values import Edit, HistoryEntry


class StateChoice(StrEnum):
    """The states of an edit; daemon.ledger.values.EditState, without its imports at start-up."""

    PENDING = "pending"
    PLANNED = "planned"
    APPLYING = "applying"
    LIVE = "live"
    SUPERSEDED = "superseded"
    RETRACTED = "retracted"
    REJECTED = "rejected"
    QUARANTINED = "quarantined"


def register(app: typer.Typer) -> None:
    """Add the commands to the table of contents."""
    app.command("status", rich_help_panel="Facts")(status)
    app.command("facts", rich_help_panel="Facts")(facts)


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


def facts(
    subject: Annotated[
        str | None, typer.Option("--subject", "-s", help="A subject or an alias, in any case.")
    ] = None,
    state: Annotated[StateChoice | None, typer.Option("--state", help="Only edits in this state.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most so many edits.")] = 50,
    offset: Annotated[int, typer.Option("--offset", min=0, help="Leave out so many first.")] = 0,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show edits and their history: which event, which batch, which generation, and why.

    \b
    Example:
      upkeep facts --subject France
      upkeep facts --state rejected --json
    """
    from daemon.cli.output import console, print_json, shown, table
    from daemon.ledger.values import EditState

    settings = one_off_settings(config)
    with ledger_of(settings) as ledger:
        wanted = EditState(state.value) if state else None
        edits = ledger.audit.facts(subject, wanted, limit, offset)
        # The history of a list of everything would be unreadable: it is shown for one subject only.
        shown_edits = [(edit, ledger.audit.history(edit.id) if subject or as_json else []) for edit in edits]
    if as_json:
        print_json({"facts": [_fact(edit, history) for edit, history in shown_edits]})
        return
    columns = ("edit", "state", "subject", "new answer", "prompt", "generation", "reason")
    rows = [
        (
            *(edit.id, edit.state, edit.subject, edit.target_new or "(retracted)"),
            *(edit.prompt, edit.generation, edit.reason),
        )
        for edit in edits
    ]
    console().print(table(f"{len(rows)} edits", columns, rows))
    for edit, history in shown_edits:
        if history:
            steps = [(entry.at, entry.from_state, entry.to_state, entry.cause) for entry in history]
            title = f"edit {edit.id}: event {shown(edit.event_id)}, batch {shown(edit.batch_id)}"
            console().print(table(title, ("at", "from", "to", "cause"), steps))


def _fact(edit: "Edit", history: "list[HistoryEntry]") -> dict[str, Any]:
    return {
        "edit_id": int(edit.id),
        "event_id": edit.event_id,
        "op": edit.op,
        "state": edit.state,
        "subject": edit.subject,
        "relation": edit.relation,
        "prompt": edit.prompt,
        "target_new": edit.target_new,
        "priority": edit.priority,
        "occurred_at": edit.occurred_at,
        "batch_id": edit.batch_id,
        "generation": edit.generation,
        "superseded_by": int(edit.superseded_by) if edit.superseded_by is not None else None,
        "reason": edit.reason,
        "source": edit.event.source,
        "history": [
            {
                "at": entry.at,
                "from": entry.from_state,
                "to": entry.to_state,
                "cause": entry.cause,
                "detail": entry.detail,
            }
            for entry in history
        ],
    }


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
    out.print(f"ledger     {report['ledger']}\nstore      {report['store']}", markup=False)
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
