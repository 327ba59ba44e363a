"""`upkeep why`: which names were found in a prompt, which edits were compared, and what each scored."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption, ledger_of, one_off_settings

if TYPE_CHECKING:
    from daemon.ledger import Ledger
    from daemon.settings.settings import Settings
    from edits.prompts import Prompt


def why(
    prompt: Annotated[str, typer.Argument(help="What is asked of the model.")],
    chat: Annotated[bool, typer.Option("--chat", help="Asked as a user's message.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Say why an edit fires on a prompt, or none does; nothing is generated.

    Asks the running daemon; where there is none, the index is loaded, without the base.

    \b
    Example:
      upkeep why "What is the capital of France?"
    """
    from daemon.cli.output import print_json

    settings = one_off_settings(config)
    with ledger_of(settings) as ledger:
        trace = trace_of(settings, ledger, prompt, chat=chat)
        subjects = _facts(ledger, [one["edit_id"] for one in trace["candidates"]])
    for one in trace["candidates"]:
        one |= subjects.get(one["edit_id"], {"prompt": None, "answer": None})
    if as_json:
        print_json({"prompt": prompt, "form": "chat" if chat else "plain", **trace})
    else:
        _print(trace)


def trace_of(settings: "Settings", ledger: "Ledger", prompt: str, *, chat: bool) -> dict[str, Any]:
    """The trace as the daemon gives it, with `asked_of`: "serve", "gateway", "index" or "model" that was loaded here."""
    from daemon.cli.daemon_client import DaemonClient, server_of
    from daemon.openai_api.trace import PATH

    body = {"messages": [{"role": "user", "content": prompt}]} if chat else {"prompt": prompt}
    server, tip = server_of(settings, ledger), ledger.generations.tip()
    gateway = DaemonClient(settings.gateway.host, settings.gateway.port)
    for name, client in (("serve", server), ("gateway", gateway)):
        if client is not None and (found := client.ask(PATH, body)) is not None:
            if tip is None or found.get("generation") != tip[0]:
                continue  # another ledger's, or one that has not caught up
            return {"asked_of": name, **found}
        if client is not None and client.refusal:
            typer.echo(f"upkeep: {client.refusal}; asking the index instead", err=True)
    return _trace_here(settings, ledger, prompt, chat=chat)


def _trace_here(settings: "Settings", ledger: "Ledger", prompt: str, *, chat: bool) -> dict[str, Any]:
    """Load as little as can tell: the index, or, where no encoder reads the text, the whole model."""
    from daemon.openai_api.trace import trace_response
    from edits.prompts import asked_in_chat

    asked: Prompt = asked_in_chat(prompt) if chat else prompt
    if settings.index.encoder:
        generation, trace = _by_index(settings, ledger, asked)
        return {"asked_of": "index", **trace_response(generation, trace).model_dump()}
    from daemon.served_model import open_model

    settings.model.required_path()
    model = open_model(settings, ledger)
    return {"asked_of": "model", **trace_response(model.generation, model.explain(asked)).model_dump()}


def _by_index(settings: "Settings", ledger: "Ledger", asked: "Prompt") -> Any:
    from daemon.gateway.edits import GatewayEdits
    from editors.index import load_matcher
    from editors.store.adapter_store import AdapterStore

    matcher = load_matcher(settings.index.encoder, heads=settings.store.path / "heads")
    tip = ledger.generations.tip()
    number, base_hash = tip if tip is not None else (0, "")
    edits = GatewayEdits(AdapterStore(settings.store.path), matcher, base_hash=base_hash)
    edits.apply(enabled=ledger.generations.live_at(number) if tip is not None else {}, disabled=())
    return number, edits.explain(asked)


def _facts(ledger: "Ledger", edit_ids: list[str]) -> dict[str, dict[str, Any]]:
    """What each candidate is asked and says."""
    found = {}
    for edit_id in edit_ids:
        edit = ledger.audit.edit(edit_id)
        found[edit_id] = {"prompt": edit.prompt, "answer": edit.target_new}
    return found


_WHO = {
    "serve": "the running server",
    "gateway": "the running gateway",
    "index": "the scope index, loaded here",
    "model": "the model, loaded here",
}


def _print(trace: dict[str, Any]) -> None:
    from daemon.cli.output import console, paragraph, shown

    out = console()
    out.print(shown(trace["why"]), markup=False, style="bold")
    out.print(f"generation {trace['generation']}, asked of {_WHO[trace['asked_of']]}", markup=False)
    names = ", ".join(shown(name) for name in trace["names"])
    out.print(f"names found: {names or 'none of a live edit'}", markup=False)
    for one in trace["candidates"]:
        mark = "fires " if one["chosen"] else "      "
        out.print(
            f"\n{mark}edit {one['edit_id']}: {shown(one['prompt'])} -> {shown(one['answer'])}", markup=False
        )
        if not one["chosen"]:  # why this one fires stands at the top
            out.print(paragraph(shown(one["why"]), 6))
        rows = [
            ("name", f"{one['name']} ({'exact' if one['exact'] else 'nearly'})"),
            ("compared", "; ".join(one["asked"]) or "nothing"),
            ("score / needed", f"{one['score']:.3f} / {one['threshold']:.3f}"),
        ]
        if one["probability"] is not None:
            rows.append(("by its text", f"{one['probability']:.3f}, likeness {one['likeness']:.3f}"))
        if one["base_agrees"] is not None:
            agrees = "agrees" if one["base_agrees"] else "differs"
            added = f", adds {one['evidence']:+.1f} to the log odds" if abs(one["evidence"]) >= 0.05 else ""
            rows.append(("by the base", f"{agrees}, {one['base_probability']:.3f}{added}"))
        for name, value in rows:
            out.print(f"      {name:<15}{shown(value)}", markup=False)
