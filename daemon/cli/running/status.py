"""`upkeep status`: where everything stands."""

from typing import TYPE_CHECKING, Any

from daemon.cli.options import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    ledger_of,
    missing_ledger,
    one_off_settings,
)
from edits.text import counted

if TYPE_CHECKING:
    from daemon.ledger.page_values import GenerationLine
    from daemon.operations.status import Status, WorkerStatus


def status(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show where everything stands: generation, edits, records, lag, holds, workers, next runs, checks."""
    from daemon.cli.output import console, print_json
    from daemon.operations.status import lag

    settings = one_off_settings(config)
    place = {"ledger": settings.ledger.shown_url, "store": settings.store.path}
    if (missing := missing_ledger(settings)) is not None:
        if as_json:
            print_json({**place, "exists": False, **_fields(None)})
            return
        console().print(f"no ledger yet at {missing}: `upkeep run` begins one", markup=False, soft_wrap=True)
        return
    with ledger_of(settings) as ledger:
        from daemon.cli.daemon_client import server_of
        from daemon.ledger import utc_now
        from daemon.operations import status as state

        found = state.status(ledger, settings, utc_now())
        server = server_of(settings, ledger)
    answer = server.ask("/v1/generation") if server is not None else None
    served = (
        None
        if server is None
        else {"address": server.address, "generation": None if answer is None else answer.get("generation")}
    )
    report = {**place, "exists": True, **_fields(found), "served": served, "lag": lag(settings)}
    if as_json:
        print_json(report)
    else:
        _print_status(report, found)


def _fields(found: "Status | None") -> dict[str, Any]:
    """What programs read: the same names and types whether there is a ledger or none."""
    if found is None:
        nothing = dict.fromkeys(("generation", "held", "check_failure", "served", "lag"))
        lists: dict[str, list[object]] = {
            name: [] for name in ("holds", "workers", "open_batches", "running", "checks")
        }
        counts: dict[str, dict[str, object]] = {
            name: {} for name in ("edits", "records", "next_runs", "jobs")
        }
        return {**nothing, "backlog": 0, **lists, **counts}
    head = found.generation
    return {
        "generation": None
        if head is None
        else {
            "number": head.number,
            "cause": head.cause,
            "created_at": head.created_at,
            "actor": head.actor,
            "answers_as": head.answers_as,
        },
        "edits": found.edits,
        "records": found.records,
        "backlog": found.backlog,
        "held": found.holds[0].reason if found.holds else None,
        "holds": found.holds,
        "workers": found.workers,
        "open_batches": found.open_batches,
        "running": found.running,
        "next_runs": found.next_runs,
        "jobs": found.jobs,
        "checks": found.checks,
        "check_failure": found.check_failure,
    }


def _print_status(report: dict[str, Any], found: "Status") -> None:
    from daemon.cli.output import console, fields, shown

    head, served = found.generation, report["served"]
    now = (
        f"{head.number} ({shown(head.cause)}, {shown(head.created_at)})"
        if head
        else "none yet: no worker has loaded the base"
    )
    serving = (
        "nobody serves this ledger at serve.host and serve.port"
        if served is None
        else (f"generation {shown(served['generation'])} at {served['address']}")
    )
    behind = (
        "not known: no broker answers"
        if report["lag"] is None
        else f"{counted(report['lag'], 'record')} behind"
    )
    held = [
        f"{shown(one.reason)} (hold {one.id}, {shown(one.actor)}, {shown(one.at)}; "
        "`upkeep release` lets work go on)"
        for one in found.holds
    ]
    rows = [
        ("generation", now),
        ("served", serving),
        ("ledger", report["ledger"]),
        ("store", report["store"]),
        ("lag", behind),
        ("backlog", counted(found.backlog, "edit", "waits", "wait")),
        *(("HELD", hold) for hold in held),
        *(("ROLLBACK", unfinished) for unfinished in _unfinished(head)),
    ]
    console().print(fields(rows))
    _print_tables(found)


def _unfinished(head: "GenerationLine | None") -> list[str]:
    if head is None or head.answers_as is None:
        return []
    as_then = f"generation {head.number} answers as generation {head.answers_as} did"
    return [f"{as_then}; a worker writes down what that changes before anything else is published"]


def _work_of(worker: "WorkerStatus") -> str | None:
    if worker.batch_id is None:
        return None
    return f"batch {worker.batch_id}" if worker.alive else f"was at batch {worker.batch_id}"


def _print_tables(found: "Status") -> None:
    from daemon.cli.output import console, shown, table

    out = console()
    out.print(table("edits", ("state", "edits"), found.edits.items()))
    out.print(table("Kafka records", ("outcome", "records"), found.records.items()))
    if found.check_failure:
        out.print(f"the newest check could not be run: {shown(found.check_failure)}", markup=False)
    workers = [
        (seen.worker, "alive" if seen.alive else "GONE", seen.device, _work_of(seen), seen.seen_at)
        for seen in found.workers
    ]
    if workers:
        out.print(table("workers", ("worker", "state", "device", "at", "last seen"), workers))
    running = [(one.id, one.lane, one.editor, one.edits, one.worker) for one in found.running]
    if running:
        out.print(table("running batches", ("batch", "lane", "editor", "edits", "worker"), running))
    jobs = [(name, found.jobs.get(name), at) for name, at in found.next_runs.items()]
    out.print(table("jobs", ("job", "last success", "due next"), jobs))
    checks = [
        (check.suite, "passed" if check.passed else "FAILED", check.generation, check.probes, check.at)
        for check in found.checks
    ]
    if checks:
        out.print(table("newest checks", ("suite", "verdict", "generation", "probes", "at"), checks))
