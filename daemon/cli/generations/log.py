"""`upkeep log` and `upkeep diff`: what was published, and what it changed."""

from typing import TYPE_CHECKING, Annotated

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
from edits.text import counted

if TYPE_CHECKING:
    from daemon.ledger.page_values import Difference, FactChange, GenerationLine

SHOWN_FACTS = 50  # of one generation, under --facts


def log(
    since: SinceOption = None,
    facts: Annotated[bool, typer.Option("--facts", help="Show each fact's old and new answer.")] = False,
    before: Annotated[
        int | None, typer.Option("--before", min=0, help="Only generations under this number.")
    ] = None,
    limit: LimitOption = 20,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show what was published, the newest first: when, by what, how many facts went on and off.

    \b
    Example:
      upkeep log --since 8h
      upkeep log --facts --limit 3
    """
    from daemon.cli.output import console, paragraph, plain, print_json
    from daemon.operations import queries

    moment = moment_of(since)
    with one_off_ledger(config) as ledger:
        page = queries.generations(ledger, before=before, since=moment, limit=limit)
        changes: dict[int, Difference] = {}
        for one in page.generations if facts else ():
            if one.parent is not None and one.answers_as is None:
                changes[one.number] = queries.difference(ledger, one.parent, one.number, limit=SHOWN_FACTS)
    if as_json:
        lines = [
            {**plain(one), "changes": plain(changes[one.number].changes) if one.number in changes else []}
            for one in page.generations
        ]
        print_json({"generations": lines, "next": page.next})
        return
    out = console()
    for one in page.generations:
        head, *more = _line(one)
        out.print(head, markup=False, style="bold")
        for line in more:
            out.print(paragraph(line, 4))
        if one.number in changes:
            _print_facts(changes[one.number])
    if not page.generations:
        out.print("nothing was published")
    if page.next is not None:
        out.print(f"older ones: --before {page.next}")


def diff(
    a: Annotated[int, typer.Argument(min=0, help="A generation; 0 is the base.")],
    b: Annotated[int, typer.Argument(min=0, help="Another one.")],
    limit: LimitOption = 100,
    cursor: Annotated[
        str | None, typer.Option("--cursor", help="Go on where the last page said `next`.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show each fact that generation B answers differently from A.

    \b
    Example:
      upkeep diff 3 7
      upkeep diff 0 7 --json
    """
    from daemon.cli.output import console, print_json, table
    from daemon.operations import queries

    with one_off_ledger(config) as ledger:
        found = queries.difference(ledger, a, b, cursor=cursor, limit=limit)
    if as_json:
        print_json(found)
        return
    rows = [(change.prompt or change.subject, *_answers(change)) for change in found.changes]
    title = f"generation {a} to {b}: {counted(len(rows), 'fact')}"
    console().print(table(title, ("asked", f"generation {a}", f"generation {b}"), rows))
    if found.next is not None:
        console().print(f"more: --cursor {found.next}")


def _line(one: "GenerationLine") -> list[str]:
    from daemon.cli.output import shown
    from daemon.operations.plan_causes import cause_of_batch

    by = f", by {shown(one.actor)}" if one.actor else ""
    planned = cause_of_batch(one)
    so_far = "" if one.answers_as is None else f" so far; it answers as generation {one.answers_as} did"
    counts = f"{one.switched_on} on, {one.switched_off} off{so_far}"
    lines = [f"generation {one.number}  {shown(one.created_at)}  {counts}", f"{shown(one.cause)}{by}"]
    if planned is not None:
        lines.append(f"planned by {shown(planned)}")
    scores = [f"{name} {shown(score)}" for name, score in one.scores.items() if score is not None]
    if scores:
        lines.append(", ".join(scores))
    if one.checks:
        verdicts = [f"{shown(check.suite)} {'passed' if check.passed else 'FAILED'}" for check in one.checks]
        lines.append(f"checks: {', '.join(verdicts)}")
    return lines


def _print_facts(found: "Difference") -> None:
    from daemon.cli.output import console, paragraph, shown

    for change in found.changes:
        old, new = _answers(change)
        console().print(
            paragraph(f"{shown(change.prompt or change.subject)}: {shown(old)} -> {shown(new)}", 6)
        )
    if found.next is not None:
        console().print(f"      and more: upkeep diff {found.a} {found.b}")


def _answers(change: "FactChange") -> tuple[str, str]:
    """The old answer and the new one, as people read them."""
    return tuple(value.answer if value is not None else "(the base's)" for value in (change.old, change.new))  # type: ignore[return-value]
