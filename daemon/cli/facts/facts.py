"""`upkeep facts`: find edits, and see how each came where it is."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

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
from edits.errors import PermanentError
from edits.text import counted

if TYPE_CHECKING:
    from daemon.ledger.page_values import FactPage
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


def facts(
    subject: Annotated[
        str | None, typer.Option("--subject", "-s", help="A subject or an alias, in any case.")
    ] = None,
    text: Annotated[
        str | None, typer.Option("--text", help="Words of subject, prompt, answer or relation.")
    ] = None,
    answer: Annotated[str | None, typer.Option("--answer", help="Words of the new answer.")] = None,
    edit: Annotated[
        str | None, typer.Option("--edit", help="This edit, with everything that is known of it.")
    ] = None,
    event: Annotated[str | None, typer.Option("--event", help="The edit of this event id.")] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, help="Edits of this batch, or of what it was split into.")
    ] = None,
    generation: Annotated[
        int | None, typer.Option("--generation", min=0, help="What this generation switched on or off.")
    ] = None,
    relation: Annotated[str | None, typer.Option("--relation", help="Edits of this relation.")] = None,
    state: Annotated[StateChoice | None, typer.Option("--state", help="Only edits in this state.")] = None,
    since: SinceOption = None,
    until: Annotated[str | None, typer.Option("--until", help="What moved until then; like --since.")] = None,
    limit: LimitOption = 50,
    cursor: Annotated[
        str | None, typer.Option("--cursor", help="Go on where the last page said `next`.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Find edits, and show how each came where it is: event, batch, generation, and why.

    Several options together: edits that meet all of them. --since and --until look at when an edit moved.

    \b
    Example:
      upkeep facts --subject France
      upkeep facts --edit 17
      upkeep facts --since 8h --state rejected
      upkeep facts --batch 5
      upkeep facts --text "capital lyon" --json
    """
    from daemon.cli.output import print_json
    from daemon.ledger.page_values import FactQuery
    from daemon.ledger.values import EditState
    from daemon.operations import queries

    query = FactQuery(
        subject=subject,
        text=text,
        answer=answer,
        event_id=event,
        edit_id=edit,
        batch=batch,
        generation=generation,
        relation=relation,
        state=EditState(state.value) if state else None,
        since=moment_of(since),
        until=moment_of(until),
    )
    with one_off_ledger(config) as ledger:
        found = queries.find_facts(ledger, query, cursor=cursor, limit=limit)
        page = queries.fact_page(ledger, found.facts[0].id) if edit and found.facts else None
        # The history of a list of everything would be unreadable: it is shown for one subject only.
        with_history = as_json or subject or event
        shown_edits = [(one, ledger.audit.history(one.id) if with_history else []) for one in found.facts]
    if edit and page is None:
        raise PermanentError(f"there is no edit {edit[:40]}")
    if as_json:
        facts_found = [_fact(one, history) for one, history in shown_edits]
        print_json({"facts": facts_found, "next": found.next, "page": page})
    elif page is not None:
        print_page(page)
    else:
        _print_facts(shown_edits, found.next)


def _print_facts(found: "list[tuple[Edit, list[HistoryEntry]]]", following: str | None) -> None:
    from daemon.cli.output import console, shown, table

    if not found:
        console().print("no edit meets this; `upkeep status` counts them by state", markup=False)
        return
    columns = ("edit", "state", "subject", "new answer", "prompt", "generation", "reason")
    rows = [
        (
            *(edit.id, edit.state, edit.subject, edit.target_new or "(retracted)"),
            *(edit.prompt, edit.generation, edit.reason),
        )
        for edit, _ in found
    ]
    console().print(table(counted(len(rows), "edit"), columns, rows))
    for edit, history in found:
        if history:
            steps = [(entry.at, entry.from_state, entry.to_state, entry.cause) for entry in history]
            title = f"edit {edit.id}: event {shown(edit.event_id)}, batch {shown(edit.batch_id)}"
            console().print(table(title, ("at", "from", "to", "cause"), steps))
    if following is not None:
        console().print(f"more: --cursor {following}")


def print_page(page: "FactPage") -> None:
    """Everything about one edit, for people."""
    from daemon.cli.output import console, fields, shown, table

    out, edit = console(), page.edit
    answers = [value.answer if value else "(the base's)" for value in (page.now, page.before)]
    out.print(f"edit {edit.id}: {shown(edit.subject)}", markup=False, style="bold")
    happened = f"{edit.occurred_at:%Y-%m-%d %H:%M}"
    rows = [
        ("state", f"{edit.state.value}: {page.why}"),
        ("asked", edit.prompt),
        ("says", edit.target_new or "(takes the fact back)"),
        ("answer now", answers[0]),
        ("answer before", answers[1]),
        ("event", f"{edit.event_id}, of {happened}, source {shown(edit.event.source)}"),
        ("relation", edit.relation),
    ]
    out.print(fields(rows))
    records = [(one.topic, one.partition, one.offset, one.outcome, one.at) for one in page.records]
    out.print(table("Kafka records", ("topic", "partition", "offset", "outcome", "at"), records))
    if (batch := page.batch) is not None:
        row = (batch.id, batch.plan_id, batch.editor, batch.state, batch.edits, batch.finished_at)
        out.print(table("batch", ("batch", "plan", "editor", "state", "edits", "finished"), [row]))
    if page.verification:
        out.print(table("verification", ("score", "value"), page.verification.items()))
    lines = [(one.number, one.created_at, one.cause, one.actor) for one in page.generations]
    if lines:
        out.print(table("generations", ("generation", "at", "cause", "by"), lines))
    steps = [(entry.at, entry.from_state, entry.to_state, entry.cause) for entry in page.history]
    out.print(table("history", ("at", "from", "to", "cause"), steps))
    others = [(one.id, one.state, one.target_new or "(retracted)", one.occurred_at) for one in page.versions]
    if others:
        out.print(table("the same fact", ("edit", "state", "answer", "happened"), others))
    checks = [
        (check.suite, "passed" if check.passed else "FAILED", check.generation, check.at)
        for check in page.checks
    ]
    if checks:
        out.print(table("checks while it was live", ("suite", "verdict", "generation", "at"), checks))


def _fact(edit: "Edit", history: "list[HistoryEntry]") -> dict[str, Any]:
    return {
        "edit_id": edit.id,
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
        "superseded_by": edit.superseded_by,
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
