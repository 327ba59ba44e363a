"""Every command that has `--json` prints one object, of the same names and types on an empty ledger and on a full one."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import typer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from support.cli_support import Upkeep, site, upkeep
from support.ledger.ledger_backends import Clock, Story, event
from support.waiting import free_port

from daemon.__main__ import build_app
from daemon.ledger import open_ledger
from daemon.ledger.values import CheckResult, Lane, Plan, PlannedBatch, RejectedEdit
from daemon.process.listening import answering

__all__ = ["site", "upkeep"]  # fixtures

REASON = ("--reason", "a test", "--yes")
# What each is asked; those that need a model or a broker end in an error here, which is an object, too.
ASKED: dict[str, list[tuple[str, ...]]] = {
    "apply": [()],
    "approve": [("--dry-run",), ("--decline", *REASON)],
    "ask": [("hello",)],
    "assets": [("written",), ()],
    "audit": [(), ("--since", "1h"), ("--since", "never")],
    "check": [()],
    "dead-letters": [()],  # the broker is away, which takes a while to find out
    "diff": [("0", "1"), ("x", "y")],
    "export": [("--out", "x", "--edit", "1"), ()],
    "facts": [
        *((), ("--edit", "1"), ("--edit", "99"), ("--state", "live"), ("--state", "dead"), ("--batch", "1")),
    ],
    "hold": [(), ("look at this",)],
    "init": [("--force",), ()],
    "log": [(), ("--facts",), ("--limit", "0")],
    "plan": [("--dry-run",), ()],
    "reindex": [("--live", "x")],
    "release": [(), ("--id", "0")],
    "repair": [("--check",)],
    "retry": [("--edit", "2", "--reason", "a test"), ("--all-quarantined", "--reason", "a test"), ()],
    "rollback": [("--edit", "1", "--dry-run"), ("--edit", "1", *REASON), ()],
    "status": [()],
    "submit": [("no file",), ("facts.jsonl",), ()],
    "why": [()],
}
# `--json FILE` of these two writes a report of its own.
WITH_A_FILE = {"demo", "evaluate"}
ERROR = {"error": {"message": "str", "type": "str", "code": "int"}}


def with_json() -> set[str]:
    """The commands that have the option, as the command line itself knows them."""
    group = typer.main.get_command(build_app())
    commands: dict[str, Any] = group.commands  # type: ignore[attr-defined]
    return {name for name, one in commands.items() if any("--json" in option.opts for option in one.params)}


def shape(value: Any) -> Any:
    """The names and types of a value: of a list those of its elements, of nothing nothing."""
    match value:
        case dict():
            return {name: shape(item) for name, item in value.items()}
        case list():
            return [shape(item) for item in value]
        case None:
            return None
        case bool() | int() | float() | str():
            return type(value).__name__
    raise AssertionError(f"{value!r} is no JSON")


def agree(one: Any, other: Any) -> bool:
    """Whether who reads the one reads the other, too: null stands for any value, an empty list for any list."""
    if one is None or other is None:
        return True
    if isinstance(one, list) and isinstance(other, list):
        return all(agree(a, b) for a in one for b in other)
    if isinstance(one, dict) and isinstance(other, dict):
        return all(agree(one[name], other[name]) for name in one.keys() & other.keys())
    return bool(one == other or {one, other} == {"int", "float"})


def read(upkeep: Upkeep, command: str, arguments: tuple[str, ...]) -> dict[str, Any]:
    """The one object that a command prints, and nothing else; an error where it did not end well."""
    answer = upkeep(command, *arguments, "--json")
    found = json.loads(answer.out)
    assert isinstance(found, dict), (command, arguments)
    assert ("error" in found) == (answer.code not in (0, 75)) or command in ("apply", "dead-letters"), found
    if "error" in found:
        assert shape({"error": found["error"]}) == ERROR, (command, arguments)
        assert found["error"]["code"] == answer.code
        assert found["error"]["message"]
    return found


def full(folder: Path, clock: Clock) -> None:
    """A ledger with an edit in most states, two generations, a check, holds, an audit log and a plan that waits."""
    with open_ledger(f"sqlite:///{folder}/upkeep-data/ledger.db", clock=clock) as ledger:
        ledger.migrate()
        ledger.control.release(actor="otto", reason="", hold_id=None)
        story = Story(ledger, clock)
        story.go_live(event("a", "Norland"))
        [bad] = story.arrive(event("bad", "Atlantis"))
        story.plan([bad])
        story.publish(story.claim(), live={}, rejected={bad.id: RejectedEdit("no", {"reliability": 0.0})})
        ledger.control.hold("the disk is full", actor="otto")
        ledger.checks.request(None, "test")
        claimed = ledger.checks.claim("w", lease_seconds=60)
        assert claimed is not None
        result = CheckResult("far", 1, clock(), True, {"locality": 1.0, "drift": None}, 10)
        ledger.checks.finish(claimed.id, claimed.token, [result])
        [waits] = story.arrive(event("c", "Westmark"))
        batch = PlannedBatch(0, Lane.BATCH, "scen", (waits.id,), "alike")
        ledger.proposals.propose(Plan(Lane.BATCH, 0, (batch,)))


def test_every_command_with_json_is_asked_here() -> None:
    assert with_json() == ASKED.keys() | WITH_A_FILE


@pytest.mark.parametrize("command", sorted(ASKED))
def test_json_is_an_object_of_the_same_types_without_a_ledger_with_an_empty_one_and_with_a_full_one(
    upkeep: Upkeep, site: Path, clock: Clock, command: str
) -> None:
    settings = site / "upkeep.toml"
    nobody = 'bootstrap_servers = "127.0.0.1:1"'
    settings.write_text(settings.read_text().replace('bootstrap_servers = "localhost:9092"', nobody))
    assert nobody in settings.read_text()
    (site / "facts.jsonl").write_text('{"event_id": "x"}\n')
    shapes: dict[tuple[str, ...], list[Any]] = {}
    for state in ("missing", "empty", "full"):
        if state == "empty":
            with open_ledger(f"sqlite:///{site}/upkeep-data/ledger.db") as ledger:
                ledger.migrate()
        elif state == "full":
            full(site, clock)
        for arguments in ASKED[command]:
            found = read(upkeep, command, arguments)
            if "error" not in found:
                shapes.setdefault(arguments, []).append(shape(found))
    for arguments, seen in shapes.items():
        for one in seen[1:]:
            assert one.keys() == seen[0].keys(), (command, arguments)
            assert agree(seen[0], one), (command, arguments)


@pytest.mark.parametrize("command", ["ask", "why"])
def test_what_a_running_server_answers_is_asked_of_it_without_loading_torch(
    site: Path, clock: Clock, command: str
) -> None:
    full(site, clock)
    port = free_port()
    script = (
        "import sys; from daemon.__main__ import main\n"
        f"sys.argv = ['upkeep', {command!r}, 'Who?', '--json']\n"
        "try: main()\n"
        "finally: print(sorted({'torch', 'transformers'} & set(sys.modules)), file=sys.stderr)\n"
    )
    with _server(site, port):
        told = subprocess.run(
            [sys.executable, "-c", script],
            cwd=site,
            capture_output=True,
            text=True,
            timeout=60,
            env=os.environ | {"UPKEEP_SERVE__PORT": str(port)},
        )
    found = json.loads(told.stdout)
    assert (told.returncode, found["asked_of"], found["edit_id"], found["score"] or None) == (
        *(0, "serve"),
        *(None, None),
    )
    assert "no subject" in found["why"]
    assert told.stderr.splitlines()[-1] == "[]"


@contextmanager
def _server(folder: Path, port: int) -> Iterator[None]:
    """What a server of this ledger says that no edit concerns."""
    with open_ledger(f"sqlite:///{folder}/upkeep-data/ledger.db") as ledger:
        head = ledger.timeline.page(limit=1).generations[0]
    now = {"generation": head.number, "head": head.number, "published_at": head.created_at.isoformat()}
    answer = {"text": "Nobody", "edit_id": None, "score": 0.0}
    trace: dict[str, Any] = {
        "edit_id": None,
        "score": 0.0,
        "why": "no subject",
        "verbatim": [],
        "names": [],
        "candidates": [],
    }

    async def told(request: Request) -> JSONResponse:
        return JSONResponse({**now, "answers": [answer], **(trace if "trace" in request.url.path else {})})

    routes = [
        Route(f"/v1/{name}", told, methods=["GET", "POST"]) for name in ("generation", "generate", "trace")
    ]
    with answering([(Starlette(routes=routes), "127.0.0.1", port)], settings="serve.port"):
        yield
