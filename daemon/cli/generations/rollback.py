"""`upkeep rollback`: take back one edit, one generation, or everything since a generation, without training."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    ReasonOption,
    YesOption,
    agreed,
    one_off_ledger,
)
from edits.text import counted

if TYPE_CHECKING:
    from daemon.ledger import Ledger
    from daemon.ledger.page_values import Preview
    from daemon.ledger.values import Act, Generation
    from edits.ids import EditId


def rollback(
    edit: Annotated[int | None, typer.Option("--edit", help="Take this edit back, for good.")] = None,
    generation: Annotated[
        int | None,
        typer.Option("--generation", min=0, help="Undo what this one generation did, for good."),
    ] = None,
    to_generation: Annotated[
        int | None, typer.Option("--to-generation", min=0, help="Answer as this generation did; 0: the base.")
    ] = None,
    restore_previous: Annotated[
        bool,
        typer.Option("--restore-previous", help="With --edit: the answer that it had replaced comes back."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and end.")] = False,
    reason: ReasonOption = None,
    yes: YesOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Take back one edit, one generation, or everything since a generation.

    Shows what would change and asks. Nothing is deleted: a new generation is published that has the wanted
    facts, and servers take it over. What was taken back by hand stays off whatever is rolled back later.

    \b
    Example:
      upkeep facts --subject France        (which edit was it?)
      upkeep rollback --edit 17
      upkeep rollback --generation 5 --dry-run
      upkeep rollback --to-generation 3 --reason "bad feed on Monday" --yes
    """
    from daemon.cli.output import print_json
    from daemon.ledger.values import Act
    from daemon.operations.actions import person

    if sum(aim is not None for aim in (edit, generation, to_generation)) != 1:
        raise typer.BadParameter("name one of --edit, --generation and --to-generation")
    if restore_previous and edit is None:
        raise typer.BadParameter("--restore-previous goes with --edit")
    with one_off_ledger(config) as ledger:
        named = None if edit is None else str(edit)
        if not dry_run:
            ledger.reversals.finish()  # an earlier one that was broken off
        preview, act_on = _aim(ledger, named, generation, to_generation, restore_previous=restore_previous)
        if not as_json:
            _print_preview(preview)
        made = None
        if not dry_run:
            why = agreed("Do it?", yes=yes, reason=reason)
            made = _written_down(ledger, act_on(Act(person(), why, expected_head=preview.head)), as_json)
    if as_json:
        print_json({"dry_run": dry_run, **_fields(made), "preview": preview})
    elif made is not None:
        _print_made(made, preview)


def _written_down(ledger: "Ledger", made: "Generation", as_json: bool) -> "Generation":
    """The generation with all that it changed: of very many edits that is written down now, while it answers already."""
    from daemon.cli.output import console

    reference = ledger.reversals.unfinished()
    if reference is None or reference.generation != made.number:
        return made
    if not as_json:
        console().print(
            f"generation {made.number} answers as generation {reference.answers_as} did; writing down what that changes "
            "(workers go on with it where this is stopped) ..."
        )
    ledger.reversals.finish()
    return ledger.generations.get(made.number)


def _fields(made: "Generation | None") -> dict[str, object]:
    """What programs read of the generation that was made; the same names where none was."""
    from edits.recency import by_arrival

    return {
        "generation": None if made is None else made.number,
        "switched_on": [] if made is None else by_arrival(made.enabled),
        "switched_off": [] if made is None else by_arrival(made.disabled),
        "cause": None if made is None else made.cause,
    }


def _aim(
    ledger: "Ledger",
    edit: "EditId | None",
    generation: int | None,
    to_generation: int | None,
    *,
    restore_previous: bool,
) -> "tuple[Preview, Callable[[Act], Generation]]":
    """What would change, and what makes it so."""
    from daemon.operations import actions

    if edit is not None:
        preview = actions.preview_undo_fact(ledger, edit, restore_previous=restore_previous)
        return preview, lambda act: actions.undo_fact(ledger, edit, act, restore_previous=restore_previous)
    if generation is not None:
        return (
            actions.preview_undo_generation(ledger, generation),
            lambda act: actions.undo_generation(ledger, generation, act),
        )
    assert to_generation is not None  # noqa: S101  -- one of the three is set, see above
    return (
        actions.preview_rollback(ledger, to_generation),
        lambda act: actions.rollback(ledger, to_generation, act),
    )


def _print_preview(preview: "Preview") -> None:
    from daemon.cli.output import console, table

    rows = [
        (
            change.prompt or change.subject,
            change.old.answer if change.old else "(the base's)",
            change.new.answer if change.new else "(the base's)",
        )
        for change in preview.changes
    ]
    title = (
        f"against generation {preview.head}: {counted(preview.switched_off, 'fact')} off, {preview.switched_on} on, "
        f"{preview.kept_off} kept off"
    )
    console().print(table(title, ("asked", "answer now", "answer then"), rows))
    if preview.kept:
        kept = [(one.edit_id, one.subject, one.answer, one.why) for one in preview.kept]
        console().print(table("these stay off", ("edit", "subject", "answer", "why"), kept))


def _print_made(made: "Generation", preview: "Preview") -> None:
    from daemon.cli.output import console

    if made.number == preview.head:
        console().print(f"nothing differs: generation {made.number} goes on answering")
        return
    console().print(
        f"generation {made.number}: {counted(len(made.disabled), 'edit')} switched off, {len(made.enabled)} switched on"
    )
