"""`upkeep ask`: the base's output, the edited model's, and the edit that fired."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption, ledger_of, one_off_settings

if TYPE_CHECKING:
    from daemon.cli.daemon_client import DaemonClient
    from daemon.ledger import Ledger
    from daemon.settings.settings import Settings


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
    """Ask the base and the edited model side by side, and say why an edit fired or none did.

    Asks the running daemon. Where there is none, or for another generation than the one that it serves, the
    model is loaded here, which takes seconds; the console's Ask page has the server answer by any of them.

    \b
    Example:
      upkeep ask "The capital of France is"
      upkeep ask "The capital of France is" --generation 3
      upkeep ask "What is the capital of France?" --chat
    """
    from daemon.cli.output import console, print_json, table

    settings = one_off_settings(config)
    with ledger_of(settings) as ledger:
        found = _by_daemon(settings, ledger, prompt, base=base, chat=chat, generation=generation)
        if found is None:
            found = _by_model(settings, ledger, prompt, base=base, chat=chat, generation=generation)
    if as_json:
        print_json({"prompt": prompt, "form": "chat" if chat else "plain", **found})
        return
    rows = [("base", found["base"], None, None)]
    if not base:
        rows.append(
            (f"generation {found['generation']}", *(found[k] for k in ("edited", "edit_id", "score")))
        )
    console().print(table(prompt, ("who", "answer", "edit", "score"), rows))
    if found["why"] is not None:
        console().print(found["why"], markup=False)


def _by_daemon(
    settings: "Settings", ledger: "Ledger", prompt: str, *, base: bool, chat: bool, generation: int | None
) -> "dict[str, Any] | None":
    """What the running server of this ledger answers; None where there is none, or it serves another generation."""
    from daemon.cli.daemon_client import server_of
    from daemon.openai_api.trace import PATH

    server = server_of(settings, ledger)
    if server is None:
        return None
    if server.refusal is not None:
        typer.echo(f"upkeep: {server.refusal}; loading the model instead", err=True)
        return None
    if generation is not None and not _serves(server, generation):
        # Not by the API: while a server answers by an earlier generation, everybody else's requests wait.
        typer.echo(
            f"upkeep: the server does not answer by generation {generation}; loading the model here", err=True
        )
        return None
    messages = [{"role": "user", "content": prompt}]
    asked: dict[str, Any] = {"messages": messages} if chat else {"prompts": [prompt]}
    bare = server.ask("/v1/generate", {**asked, "base": True})
    edited = bare if base else server.ask("/v1/generate", asked)
    trace = None if base else server.ask(PATH, {"messages": messages} if chat else {"prompt": prompt})
    if bare is None or edited is None:
        return None
    (first,), (second,) = bare["answers"], edited["answers"]
    return {
        "asked_of": "serve",
        "base": first["text"],
        "edited": None if base else second["text"],
        "generation": None if base else edited["generation"],
        "edit_id": None if base else second["edit_id"],
        "score": None if base or second["edit_id"] is None else second["score"],
        "why": None if trace is None else trace["why"],
    }


def _serves(server: "DaemonClient", generation: int) -> bool:
    now = server.ask("/v1/generation")
    return now is not None and now.get("generation") == generation


def _by_model(
    settings: "Settings", ledger: "Ledger", prompt: str, *, base: bool, chat: bool, generation: int | None
) -> "dict[str, Any]":
    """What a model that is loaded here answers."""
    settings.model.required_path()
    from daemon.served_model import open_model  # loads torch: after the settings, which may be wrong
    from edits.prompts import asked_in_chat

    asked = asked_in_chat(prompt) if chat else prompt
    tokens = settings.model.max_new_tokens
    model = open_model(settings, ledger)
    first = model.generate_base([asked], max_new_tokens=tokens)[0]
    found: dict[str, Any] = {"asked_of": "model", "base": first.text}
    if base:
        return {**found, **dict.fromkeys(("edited", "generation", "edit_id", "score", "why"))}
    model.refresh()
    number = model.generation if generation is None else generation
    with model.at(number):
        answer = model.generate([asked], max_new_tokens=tokens)[0]
        why = model.explain(asked).why
    return {
        **found,
        "edited": answer.text,
        "generation": number,
        "edit_id": answer.edit_id,
        "score": answer.score if answer.edit_id is not None else None,
        "why": why,
    }
