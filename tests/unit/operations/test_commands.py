"""What changed, why, and undo it: `upkeep log`, `diff`, `facts`, `rollback`, `audit`, as a person on call types them."""

import getpass
import json
import re
import textwrap
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.cli_support import Upkeep, begun, site, upkeep
from support.ledger.ledger_backends import Clock, Story, database_of, event, record

from daemon.__main__ import build_app
from daemon.cli.output import table
from daemon.ledger import open_ledger
from daemon.ledger.publication.reversals import Reversals
from daemon.ledger.values import Act, Edit

__all__ = ["begun", "site", "upkeep"]  # fixtures

TERMINAL = 80
CLOCK_TIME = re.compile(r"\d\d:\d\d:\d\d")


@pytest.fixture
def reported(site: Path, clock: Clock) -> Iterator[tuple[Story, list[Edit]]]:
    """A ledger in which France's capital was set right, then wrong, beside another fact."""
    with open_ledger(f"sqlite:///{site}/upkeep-data/ledger.db", clock=clock) as ledger:
        ledger.migrate()
        story = Story(ledger, clock)
        right = story.go_live(event("right", "France", "Paris"))
        clock.advance(3600)
        wrong = story.go_live(event("wrong", "France", "Lyon", day=2), event("other", "Italy", "Rome"))
        yield story, [*right, *wrong]


def printed(upkeep: Upkeep, *arguments: str) -> Any:
    """The object that a command prints under --json."""
    answer = upkeep(*arguments, "--json")
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


def test_log_and_diff_tell_what_changed_and_facts_tells_why(upkeep: Upkeep, reported: object) -> None:
    log = printed(upkeep, "log", "--facts")
    assert [
        (one["number"], one["kind"], one["switched_on"], one["switched_off"]) for one in log["generations"]
    ] == [
        (2, "batch", 2, 1),
        (1, "batch", 1, 0),
        (0, "start", 0, 0),
    ]
    changes = log["generations"][0]["changes"]
    assert {(c["subject"], c["old"] and c["old"]["answer"], c["new"]["answer"]) for c in changes} == {
        ("France", "Paris", "Lyon"),
        ("Italy", None, "Rome"),
    }
    assert printed(upkeep, "log", "--limit", "1")["next"] == 2
    assert [
        one["number"] for one in printed(upkeep, "log", "--since", "2026-05-01T12:30Z")["generations"]
    ] == [2]
    people = upkeep("log", "--facts").out
    assert "generation 2  2026-05-01 13:00:00  2 on, 1 off" in people
    assert "The capital of France is: Paris -> Lyon" in people

    assert printed(upkeep, "diff", "1", "2")["changes"] == changes
    assert "Lyon" in upkeep("diff", "2", "1").out
    assert upkeep("diff", "1", "9").err == "upkeep: there is no generation 9\n"

    wrong = (
        changes[-1]["new"]["edit_id"] if changes[-1]["subject"] == "France" else changes[0]["new"]["edit_id"]
    )
    page = printed(upkeep, "facts", "--edit", str(wrong))["page"]
    assert (page["now"]["answer"], page["before"]["answer"]) == ("Lyon", "Paris")
    assert page["records"][0] | {"at": None} == {
        "topic": "fact-updates",
        "partition": 0,
        "offset": 1,
        "at": None,
        "outcome": "accepted",
        "reason": None,
    }
    shown = upkeep("facts", "--edit", str(wrong)).out
    assert "it passed verification and answers since generation 2" in shown
    assert "answer before  Paris" in shown
    for options, found in (
        (("--event", "other"), ["other"]),
        (("--generation", "1"), ["right"]),
        (("--text", "capital franc", "--state", "live"), ["wrong"]),
        (("--since", "2026-05-01T12:30Z", "--state", "superseded"), ["right"]),
    ):
        assert [fact["event_id"] for fact in printed(upkeep, "facts", *options)["facts"]] == found
    assert upkeep("facts", "--edit", "no-edit").err == "upkeep: there is no edit no-edit\n"


def test_a_rollback_is_shown_then_asked_for_and_recorded(
    upkeep: Upkeep, reported: tuple[Story, list[Edit]]
) -> None:
    wrong = next(edit for edit in reported[1] if edit.event_id == "wrong")
    aim = ("rollback", "--edit", str(wrong.id), "--restore-previous")

    preview = printed(upkeep, *aim, "--dry-run")
    assert (preview["dry_run"], preview["generation"], preview["preview"]["switched_on"]) == (True, None, 1)
    assert "Paris" in upkeep(*aim, "--dry-run").out
    refused = upkeep(*aim)
    assert (refused.code, reported[0].head()) == (2, 2), "a script that does not say --yes changes nothing"
    assert "--yes" in refused.err

    made = printed(upkeep, *aim, "--yes", "--reason", "bad feed")
    assert (made["generation"], made["switched_off"]) == (3, [wrong.id]) or made["switched_off"] == [
        str(wrong.id)
    ]
    back = printed(upkeep, "rollback", "--to-generation", "2", "--yes")
    assert [one["why"] for one in back["preview"]["kept"]] == ["taken back by hand in generation 3"]
    undo = printed(upkeep, "rollback", "--generation", "2", "--yes", "--reason", "the whole batch")
    assert len(undo["switched_off"]) == 1, "the other fact of that batch"

    entries = printed(upkeep, "audit")["entries"]
    assert [(one["action"], one["reason"], one["actor"]) for one in entries] == [
        ("undo_generation", "the whole batch", getpass.getuser()),
        ("undo_fact", "bad feed", getpass.getuser()),
    ]
    assert [one["id"] for one in printed(upkeep, "audit", "--action", "undo_fact")["entries"]] == [1]
    assert "bad feed" in upkeep("audit", "--since", "1h").out or "bad feed" in upkeep("audit").out


def test_a_rollback_that_was_broken_off_is_told_and_the_next_one_finishes_it_first(
    upkeep: Upkeep, reported: tuple[Story, list[Edit]], clock: Clock
) -> None:
    story, edits = reported
    Reversals(database_of(story.ledger), clock, at_once=0).rollback(1, Act("ada", "bad feed"))

    assert printed(upkeep, "status")["generation"]["answers_as"] == 1
    assert "ROLLBACK" in upkeep("status").out
    log = upkeep("log", "--facts")
    assert (log.code, "0 on, 0 off so far; it answers as generation 1 did" in log.out) == (0, True)
    refused = upkeep("diff", "2", "3")
    assert (refused.code, "try again in a moment" in refused.err) == (75, True)
    assert upkeep("rollback", "--to-generation", "2", "--dry-run").code == 75

    made = printed(upkeep, "rollback", "--to-generation", "0", "--yes")
    assert (made["generation"], made["switched_off"], story.state(edits[0])) == (
        4,
        [edits[0].id],
        "retracted",
    )
    assert printed(upkeep, "status")["generation"]["answers_as"] is None
    assert "generation 3  2026-05-01 13:00:00  1 on, 2 off" in upkeep("log").out


def test_apply_that_cannot_finish_its_plan_says_what_is_open_and_to_come_again(
    upkeep: Upkeep, site: Path
) -> None:
    base = Path(__file__).resolve().parents[3] / "demo" / "base"
    (site / "upkeep.toml").write_text(f'[model]\npath = "{base}"\n[index]\nencoder = ""\n')
    with open_ledger(f"sqlite:///{site}/upkeep-data/ledger.db") as ledger:
        ledger.migrate()
        ledger.intake.record([record(event("e1"), 0)])
    assert upkeep("hold", "audit on Monday").code == 0

    reported = upkeep("apply", "--wait", "60", "--json")
    report = json.loads(reported.out)
    assert (reported.code, report["held"], report["plan"]) == (75, "audit on Monday", 1)
    assert [(one["state"], one["edits"]) for one in report["open"]] == [("planned", 1)]


def test_under_json_an_error_is_an_object_too(upkeep: Upkeep, begun: Path) -> None:
    for arguments, code, kind, message in (
        (("diff", "1", "2"), 1, "permanent", "there is no generation 1"),
        (("rollback",), 2, "usage", "name one of --edit"),
        (("facts", "--since", "yesterday"), 2, "usage", "'yesterday' is no time"),
        (("status", "-c", "no.toml"), 2, "settings", "there is no settings file"),
        (("facts", "--limit", "x"), 2, "usage", "integer"),
    ):
        answer = upkeep(*arguments, "--json")
        error = json.loads(answer.out)["error"]
        assert (answer.code, error["code"], error["type"]) == (code, code, kind)
        assert message in error["message"]


def test_no_word_is_broken_on_a_terminal_of_80_columns(
    upkeep: Upkeep, reported: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    words: set[str] = set()
    for width in ("80", "400"):
        monkeypatch.setenv("COLUMNS", width)
        shown = [
            upkeep(*command).out
            for command in (
                ("facts", "--subject", "France"),
                ("facts", "--edit", "2"),
                ("status",),
                ("log",),
                ("audit",),
            )
        ]
        lines = [line for text in shown for line in text.splitlines()]
        assert all(len(line) <= int(width) or "/upkeep-data/" in line for line in lines)
        found = {word for text in shown for word in text.split() if word.isalnum() or ":" in word}
        found = {
            word for word in found if not CLOCK_TIME.fullmatch(word)
        }  # of the next run, which moves on meanwhile
        words = found if not words else words - found
    assert words == set(), "every word of the narrow tables stands in the wide ones too"


def test_a_word_that_is_longer_than_its_place_or_the_line_is_neither_broken_nor_cut(
    upkeep: Upkeep, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject, answer = "Donaudampf" * 9, "Kernkraft" * 6
    worker = "upkeep-worker-7d9f8b6c5d-x2x4z.upkeep-production.svc.cluster.local:12345"
    ticket = f"https://tickets.example.com/browse/OPS-1?{'comment=1&' * 6}"
    with open_ledger(f"sqlite:///{site}/upkeep-data/ledger.db") as ledger:
        ledger.migrate()
        story = Story(ledger, Clock())
        [edit] = story.go_live(event("urn:uuid:" + "6e8b-" * 15, subject, answer))
        ledger.control.hold(f"{ticket} says wait", actor="otto")
        ledger.control.workers_seen(worker, "cpu", 3)
    monkeypatch.setenv("COLUMNS", str(TERMINAL))
    told = {
        ("status",): (worker, ticket),
        ("hold",): (ticket,),
        ("log", "--facts"): (subject, answer),
        ("diff", "0", "1"): (subject, answer),
        ("facts",): (subject, answer),
        ("facts", "--subject", subject): (subject, answer, edit.event_id),
        ("facts", "--edit", edit.id): (subject, answer, edit.event_id),
        ("audit",): (ticket,),
    }
    for command, words in told.items():
        lines = upkeep(*command).out.splitlines()
        for word in words:
            assert any(word in line for line in lines), (command, word)
        too_long = [line for line in lines if len(line) > TERMINAL and "/upkeep-data/" not in line]
        assert {len(line.split()) for line in too_long} <= {1}, "only such a word goes beyond the edge"


def test_a_table_that_has_just_room_for_its_words_keeps_its_right_edge() -> None:
    columns = ("edit", "state", "subject", "new answer", "prompt", "generation", "reason")
    rows = [
        ("185", "live", "Poland", "Lima", "Poland's capital is", "9", "-"),
        ("125", "superseded", "Poland", "Cairo", "Poland's capital is", "5", "edit 185 is newer"),
        ("102", "live", "Poland", "Karol Nawrocki", "Who is the head of state of Poland?", "4", "-"),
    ]
    paper = StringIO()
    Console(file=paper, width=TERMINAL).print(table("3 edits", columns, rows))
    lines = [line.rstrip() for line in paper.getvalue().splitlines()[1:]]
    assert {line[-1] for line in lines} <= set("┓┃┩│┘")
    assert max(map(len, lines)) == TERMINAL, "what room there is goes to the columns that need it"


def test_what_goes_on_under_a_line_is_indented_as_the_line(
    upkeep: Upkeep, reported: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "28")
    for line in upkeep("log").out.splitlines():
        assert line.startswith(("generation", "    ", "older")) or ":" in line, line
    event_lines = upkeep("facts", "--edit", "2").out.splitlines()
    start = next(number for number, line in enumerate(event_lines) if line.startswith("event "))
    assert event_lines[start + 1].startswith(" " * len("answer before  "))


def test_lists_that_are_empty_say_so_and_where_to_look(upkeep: Upkeep, begun: Path) -> None:
    assert upkeep("facts", "--state", "rejected").out.startswith("no edit meets this")
    assert upkeep("audit").out.startswith("nothing was done by hand")
    assert upkeep("log").out.startswith("nothing was published")


@pytest.mark.parametrize(
    "arguments",
    [
        ("facts",),
        ("log",),
        ("diff", "0", "1"),
        ("audit",),
        ("plan",),
        ("rollback", "--edit", "1"),
        ("hold", "x"),
        ("repair",),
    ],
)
def test_in_a_folder_without_a_ledger_a_command_says_so_and_begins_none(
    upkeep: Upkeep, site: Path, arguments: tuple[str, ...]
) -> None:
    answer = upkeep(*arguments)
    assert answer.code == 1
    assert f"no ledger yet at {site}/upkeep-data/ledger.db: `upkeep run` begins one" in answer.err
    assert not (site / "upkeep-data" / "ledger.db").exists()


def test_the_shells_completion_can_be_installed(upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch) -> None:
    # Whatever started the tests: the shell is named, not looked for among the processes above.
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    assert "--install-completion" in upkeep("--help").out
    assert "COMPREPLY" in upkeep("--show-completion", "bash").out


def test_help_is_wrapped_by_the_terminal_and_examples_stay_on_their_lines(
    upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(TERMINAL))
    for command in build_app().registered_commands:
        name = command.name or getattr(command.callback, "__name__", "")
        lines = [line.strip() for line in upkeep(name, "--help").out.splitlines()]
        assert all(len(line) <= TERMINAL for line in lines)
        for paragraph in (command.help or "").split("\n\n"):
            if paragraph.startswith("\b"):
                assert {line.strip() for line in paragraph.splitlines()} <= {*lines, "\b"}, name
            else:
                first, *_ = textwrap.wrap(paragraph.replace("\\[", "["), TERMINAL - 2)
                assert first in lines, f"{name}: a line ends where our source's line ended"
