"""`upkeep ask`: the base's output, the edited model's, and the edit that fired."""

from typing import Annotated

import typer

from daemon.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption, ledger_of, one_off_settings


def register(app: typer.Typer) -> None:
    """Add the command to the table of contents."""
    app.command("ask", rich_help_panel="Facts")(ask)


def ask(
    prompt: Annotated[str, typer.Argument(help="The beginning of a sentence, or a question.")],
    base: Annotated[bool, typer.Option("--base", help="Ask the base alone.")] = False,
    chat: Annotated[
        bool, typer.Option("--chat", help="Ask as a user's message, through the base's chat template.")
    ] = False,
    generation: Annotated[
        int | None,
        typer.Option("--generation", "-g", min=0, help="Ask this earlier generation, not the newest."),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Ask the base and the edited model side by side.

    \b
    Example:
      upkeep ask "The capital of France is"
      upkeep ask "The capital of France is" --generation 3
      upkeep ask "What is the capital of France?" --chat
    """
    from daemon.cli.output import console, print_json, table

    settings = one_off_settings(config)
    from daemon.served_model import open_model  # loads torch: after the settings, which may be wrong
    from edits.prompts import asked_in_chat

    asked = asked_in_chat(prompt) if chat else prompt
    tokens = settings.model.max_new_tokens
    with ledger_of(settings) as ledger:
        model = open_model(settings, ledger)
        rows = [("base", model.generate_base([asked], max_new_tokens=tokens)[0])]
        if not base:
            model.refresh()
            number = model.generation if generation is None else generation
            with model.at(number):
                answer = model.generate([asked], max_new_tokens=tokens)[0]
            rows.append((f"generation {number}", answer))
    if as_json:
        print_json(
            {
                "prompt": prompt,
                "form": "chat" if chat else "plain",
                "base": rows[0][1].text,
                "edited": None if base else rows[1][1].text,
                "generation": None if base else number,
                "edit_id": None if base else rows[1][1].edit_id,
                "score": None if base else rows[1][1].score,
            }
        )
        return
    rows_shown = [(who, answer.text, answer.edit_id, answer.score) for who, answer in rows]
    console().print(table(prompt, ("who", "answer", "edit", "score"), rows_shown))
