"""Why an edit fires, or none does: the routing trace over HTTP, and `upkeep why` and `ask` by the running daemon."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.cli_support import Upkeep, begun, site, upkeep
from support.serving_support import EmbeddedServer, Fact, embedded_server

__all__ = ["begun", "site", "upkeep"]  # fixtures

NORLAND = Fact("Norland", "The capital of Norland is", "Elbing")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with embedded_server(tmp_path_factory.mktemp("trace"), [NORLAND]) as running:
        yield running


def test_a_trace_names_what_was_found_and_why_it_fires_or_does_not(server: EmbeddedServer) -> None:
    fired = server.post("/v1/trace", {"prompt": NORLAND.prompt}).json()
    assert (fired["generation"], fired["score"], fired["names"]) == (1, 1.0, ["Norland"])
    (one,) = fired["candidates"]
    assert (one["edit_id"], one["subject"], one["exact"], one["chosen"]) == (
        fired["edit_id"],
        "Norland",
        True,
        True,
    )
    assert fired["verbatim"] == [fired["edit_id"]]
    assert fired["why"] == f"edit {fired['edit_id']} fires: the prompt is its own, to the letter"

    other = server.post("/v1/trace", {"prompt": "The longest river of Norland is called"}).json()
    answered = server.post("/v1/generate", {"prompts": ["The longest river of Norland is called"]}).json()
    assert other["edit_id"] == answered["answers"][0]["edit_id"]
    (candidate,) = other["candidates"]
    assert candidate["fires"] == (candidate["score"] >= candidate["threshold"])
    assert isinstance(candidate["base_agrees"], bool)

    nothing = server.post("/v1/trace", {"messages": [{"role": "user", "content": "How are you?"}]}).json()
    assert (nothing["edit_id"], nothing["candidates"]) == (None, [])
    assert nothing["why"] == "no edit fires: the prompt names no subject of a live edit"
    for body in ({}, {"prompt": "x", "messages": []}, {"prompt": "x" * 100_000}, {"prompt": 3}):
        assert server.post("/v1/trace", body).status_code == 422


def test_ask_and_why_ask_the_running_daemon_and_load_no_model(
    server: EmbeddedServer, upkeep: Upkeep, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPKEEP_LEDGER__URL", server.settings.ledger.url)
    monkeypatch.setenv("UPKEEP_SERVE__PORT", str(server.settings.serve.port))
    monkeypatch.setenv("UPKEEP_MODEL__PATH", "/nothing/there")  # what must not be needed
    monkeypatch.setattr("daemon.served_model.open_model", lambda *_: pytest.fail("the model was loaded"))

    asked = output(upkeep, "ask", NORLAND.prompt)
    assert (asked["asked_of"], asked["edited"], asked["generation"]) == ("serve", "Elbing", 1)
    assert asked["why"].endswith("to the letter")
    nothing = output(upkeep, "ask", "How are you?")
    assert (nothing["edit_id"], nothing["why"]) == (
        None,
        "no edit fires: the prompt names no subject of a live edit",
    )
    trace = output(upkeep, "why", NORLAND.prompt)
    assert (trace["asked_of"], trace["candidates"][0]["answer"]) == ("serve", "Elbing")
    people = upkeep("why", NORLAND.prompt).out
    assert "names found: Norland" in people
    assert "The capital of Norland is -> Elbing" in people
    assert people.count("to the letter") == 1
    assert upkeep("ask", "x" * 100_000, "--json").code == 1
    assert output(upkeep, "ask", NORLAND.prompt, "--generation", "1")["asked_of"] == "serve", (
        "it serves that one"
    )


def test_ask_of_another_generation_than_the_servers_says_that_it_loads_the_model(
    server: EmbeddedServer, upkeep: Upkeep, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LEDGER__URL", "MODEL__PATH", "STORE__PATH", "SERVE__PORT", "INDEX__ENCODER"):
        table, key = name.lower().split("__")
        monkeypatch.setenv(f"UPKEEP_{name}", str(getattr(getattr(server.settings, table), key)))
    shown = upkeep("ask", NORLAND.prompt, "--generation", "0", "--json")
    asked = json.loads(shown.out)
    assert (asked["asked_of"], asked["generation"], asked["edit_id"]) == ("model", 0, None)
    assert asked["edited"] == asked["base"]
    assert "does not answer by generation 0; loading the model here" in shown.err


def test_a_daemon_of_another_ledger_is_not_asked(
    server: EmbeddedServer, upkeep: Upkeep, begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPKEEP_SERVE__PORT", str(server.settings.serve.port))
    reported = upkeep("ask", NORLAND.prompt, "--json")
    assert (reported.code, json.loads(reported.out)["error"]["type"]) == (2, "settings"), (
        "there is no model to load"
    )


def output(upkeep: Upkeep, *arguments: str) -> Any:
    """The object that a command prints under --json."""
    answer = upkeep(*arguments, "--json")
    assert answer.code == 0, answer.err
    return json.loads(answer.out)
