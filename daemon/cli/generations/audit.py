"""`upkeep audit`: who did what by hand, and why."""

from typing import Annotated

import typer

from daemon.cli.options import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    LimitOption,
    SinceOption,
    moment_of,
    one_off_ledger,
)


def audit(
    since: SinceOption = None,
    by: Annotated[str | None, typer.Option("--by", help="Only what this person did.")] = None,
    action: Annotated[
        str | None,
        typer.Option("--action", help="Only rollback, undo_fact, undo_generation, retry, hold ..."),
    ] = None,
    before: Annotated[int | None, typer.Option("--before", min=0, help="Only older entries.")] = None,
    limit: LimitOption = 50,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show what was done by hand, the newest first: who, what, why. The log is never changed.

    \b
    Example:
      upkeep audit --since 2d
      upkeep audit --by ann --json
    """
    from daemon.cli.output import console, print_json, table
    from daemon.operations import queries

    moment = moment_of(since)
    with one_off_ledger(config) as ledger:
        page = queries.audit(ledger, since=moment, actor=by, action=action, before=before, limit=limit)
    if as_json:
        print_json(page)
        return
    if not page.entries:
        console().print("nothing was done by hand that meets this")
        return
    rows = [
        (one.at, one.actor, one.action, _words(one.target), one.reason, _words(one.changed))
        for one in page.entries
    ]
    console().print(table("audit log", ("at", "who", "action", "of", "why", "changed"), rows))
    if page.next is not None:
        console().print(f"older entries: --before {page.next}")


def _words(values: object) -> str:
    from collections.abc import Mapping

    if not isinstance(values, Mapping):
        return str(values)
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items())
