"""Work by hand on the command line: plan, hold, retry, check, roll back."""

import getpass
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.cli_support import Upkeep, arrive, begun, event_of, site, upkeep

from daemon.cli.generations import check
from daemon.ledger import Ledger, open_ledger
from daemon.settings.settings import load_settings
from edits.errors import TemporaryError

__all__ = ["begun", "site", "upkeep"]  # fixtures


def test_a_dry_run_prints_the_plan_and_stores_nothing(upkeep: Upkeep, site: Path) -> None:
    arrive(site, event_of("e1", "Lyon"), event_of("e2", "Nice"))

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

    arrive(site, event_of("e1", "Lyon"))
    with _ledger(site) as ledger:
        ledger.control.workers_seen("machine:1", "cpu", None)
    there = json.loads(upkeep("status", "--json").out)
    assert absent.keys() == there.keys(), "programs read the same names in both"
    assert (there["exists"], there["backlog"], there["lag"], there["served"]) == (True, 1, None, None)
    assert [(one["worker"], one["alive"]) for one in there["workers"]] == [("machine:1", True)]
    with _ledger(site, clock=lambda: datetime(2026, 1, 1, tzinfo=UTC)) as ledger:
        ledger.control.workers_seen("a-lost-one:7", "cpu", 3)
    both = json.loads(upkeep("status", "--json").out)["workers"]
    assert [(one["worker"], one["alive"]) for one in both] == [("machine:1", True), ("a-lost-one:7", False)]
    assert re.search(r"a-lost-one:7 .* GONE .* was at batch 3 ", upkeep("status").out)
    nightly = datetime.fromisoformat(there["next_runs"]["nightly_plan"])
    assert (nightly.hour, nightly.minute, nightly > datetime.now(UTC)) == (2, 0, True)


def test_an_edit_that_was_given_up_is_pending_again_after_a_retry(upkeep: Upkeep, site: Path) -> None:
    arrive(site, event_of("e1", "Lyon"))
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


def _ledger(site: Path, **options: Any) -> Ledger:
    ledger = open_ledger(f"sqlite:///{site}/upkeep-data/ledger.db", **options)
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
