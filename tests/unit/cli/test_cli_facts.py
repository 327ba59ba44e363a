"""Facts on the command line: sent, counted, found again."""

import io
import json
from pathlib import Path

import pytest
from support.cli_support import Upkeep, arrive, event_of, site, upkeep
from support.ledger.ledger_backends import Clock, Story

from daemon.ledger import open_ledger

__all__ = ["site", "upkeep"]  # fixtures


def test_status_counts_edits_and_records(upkeep: Upkeep, site: Path) -> None:
    arrive(site, event_of("e1", "Lyon"), event_of("e2", "Nice"))

    report = json.loads(upkeep("status", "--json").out)

    assert report["edits"]["pending"] == 2
    assert report["records"]["accepted"] == 2
    assert report["generation"] is None
    assert "pending" in upkeep("status").out


def test_facts_tells_where_an_edit_stands_and_how_it_came_there(upkeep: Upkeep, site: Path) -> None:
    arrive(site, event_of("e1", "Lyon", source="atlas"))

    (fact,) = json.loads(upkeep("facts", "--subject", "france", "--json").out)["facts"]

    assert (fact["event_id"], fact["state"], fact["target_new"]) == ("e1", "pending", "Lyon")
    assert fact["source"] == "atlas"
    assert [step["to"] for step in fact["history"]] == ["pending"]
    people = upkeep("facts", "--subject", "France").out
    assert "Lyon" in people
    assert "event e1" in people
    assert json.loads(upkeep("facts", "--state", "live", "--json").out) == {
        "facts": [],
        "next": None,
        "page": None,
    }


def test_facts_of_a_batch_are_listed_those_of_a_split_one_by_its_halves(upkeep: Upkeep, site: Path) -> None:
    subjects = ("France", "Spain", "Italy")
    arrive(
        site,
        *(
            event_of(f"e{n}", "X", subject=name, prompt=f"{name}: its capital")
            for n, name in enumerate(subjects, 1)
        ),
    )
    clock = Clock()
    with open_ledger(f"sqlite:///{site}/upkeep-data/ledger.db", clock=clock) as ledger:
        story = Story(ledger, clock)
        story.plan(ledger.plans.pending(None, 2), ledger.plans.pending(None, 9)[2:])
        batch = story.claim()
        clock.advance(1)
        ledger.batches.split(batch.id, batch.token, (["1"], ["2"]), reason="too large")

    listed = json.loads(upkeep("facts", "--batch", str(batch.id), "--json").out)["facts"]
    assert [(fact["edit_id"], fact["batch_id"]) for fact in listed] == [("2", 4), ("1", 3)]
    people = upkeep("facts", "--batch", "4").out
    assert "Spain" in people
    assert "France" not in people
    assert "no edit meets this" in upkeep("facts", "--batch", "99").out
    huge = upkeep("facts", "--batch", "9" * 30)
    assert (huge.code, huge.err) == (1, "upkeep: the ledger has nothing under so large a number\n")


def test_text_from_events_neither_formats_nor_commands_the_terminal(upkeep: Upkeep, site: Path) -> None:
    arrive(site, event_of("e1", "\x1b[31mred [bold]x[/bold]"))

    reported = upkeep("facts").out

    assert "\x1b[31m" not in reported
    assert "[bold]x[/bold]" in reported


def test_submit_sends_nothing_when_a_line_is_bad_and_says_which(upkeep: Upkeep, site: Path) -> None:
    good = event_of("e1", "Lyon").model_dump_json()
    (site / "facts.jsonl").write_text(f'{good}\n{{"event_id": 3}}\nnot json\n')

    reported = upkeep("submit", "facts.jsonl", "--json")

    report = json.loads(reported.out)
    assert reported.code == 1
    assert (report["events"], report["sent"], report["invalid"]) == (1, 0, 2)
    assert [fault["line"] for fault in report["faults"]] == [2, 3]
    assert "not_json" in upkeep("submit", "facts.jsonl").out


def test_submit_reads_standard_input_and_refuses_one_event_id_with_two_contents(
    upkeep: Upkeep, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrive(site, event_of("e1", "Lyon"))
    lines = [
        event_of(*one).model_dump_json()
        for one in (("e1", "Nice"), ("e2", "Metz"), ("e2", "Metz"), ("e2", "Lens"))
    ]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\n".join(lines).encode())))
    reported = upkeep("submit", "-", "--json")

    report = json.loads(reported.out)
    assert (reported.code, report["events"], report["duplicates"], report["invalid"], report["sent"]) == (
        1,
        2,
        1,
        2,
        0,
    )
    assert [(fault["line"], fault["reason_code"], fault["reason"]) for fault in report["faults"]] == [
        (1, "event_id_reused", "the event_id 'e1' stands in the ledger with other content"),
        (4, "event_id_reused", "the event_id 'e2' stands on an earlier line with other content"),
    ]
    assert report["error"]["message"] == "standard input: 2 of 4 lines are no fact events"


def test_what_the_ledger_has_is_a_duplicate_and_needs_no_broker(upkeep: Upkeep, site: Path) -> None:
    arrive(site, event_of("e1", "Lyon"))
    (site / "facts.jsonl").write_text(event_of("e1", "Lyon").model_dump_json())
    assert json.loads(upkeep("submit", "facts.jsonl", "--json").out) == {
        "events": 1,
        "sent": 0,
        "invalid": 0,
        "faults": [],
        "duplicates": 1,
    }
