"""`upkeep rollback`: take one edit back, or return to an earlier generation, without training."""

from typing import Annotated

import typer

from daemon.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption, ledger_of, one_off_settings


def register(app: typer.Typer) -> None:
    """Add the command to the table of contents."""
    app.command("rollback", rich_help_panel="Maintenance")(rollback)


def rollback(
    edit: Annotated[int | None, typer.Option("--edit", help="Take this edit back.")] = None,
    to_generation: Annotated[
        int | None, typer.Option("--to-generation", min=0, help="Answer as this generation did; 0: the base.")
    ] = None,
    restore_previous: Annotated[
        bool,
        typer.Option("--restore-previous", help="With --edit: the answer that it had replaced comes back."),
    ] = False,
    cause: Annotated[str, typer.Option("--cause", help="Why; stands in the history.")] = "by hand",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Take back one edit, or everything since a generation.

    Nothing is deleted: a new generation is published that has the wanted facts, and servers take it over.

    \b
    Example:
      upkeep facts --subject France        (which edit was it?)
      upkeep rollback --edit 17
      upkeep rollback --to-generation 3 --cause "bad feed on Monday"
    """
    from daemon.cli.output import console, print_json
    from edits.recency import by_arrival

    if (edit is None) == (to_generation is None):
        raise typer.BadParameter("name either --edit or --to-generation")
    if restore_previous and edit is None:
        raise typer.BadParameter("--restore-previous goes with --edit")
    cause = f"rollback: {cause}"
    with ledger_of(one_off_settings(config)) as ledger:
        if edit is not None:
            made = ledger.generations.rollback_edit(str(edit), cause=cause, restore_previous=restore_previous)
        else:
            assert to_generation is not None  # noqa: S101  -- one of the two is set, see above
            made = ledger.generations.rollback_to(to_generation, cause=cause)
    if as_json:
        print_json(
            {
                "generation": made.number,
                "switched_on": by_arrival(made.enabled),
                "switched_off": by_arrival(made.disabled),
                "cause": made.cause,
            }
        )
        return
    console().print(
        f"generation {made.number}: {len(made.disabled)} edits switched off, {len(made.enabled)} switched on"
    )
