"""`upkeep demo`, the newcomer's first command: every record accounted for, every score held, nothing left behind."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from support.acceptance_support import still_running
from support.waiting import answers, eventually

from daemon.ledger import open_ledger
from daemon.ledger.values import EditState

COMMAND = (sys.executable, "-m", "daemon", "demo")


def test_the_demo_accounts_for_every_record_and_holds_its_scores(tmp_path: Path) -> None:
    folder, summary_path = tmp_path / "demo", tmp_path / "summary.json"
    ran = subprocess.run(
        [*COMMAND, "--dir", str(folder), "--json", str(summary_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    summary = json.loads(summary_path.read_text(encoding="utf-8"))
    assert summary["problems"] == []
    assert summary["events_published"] == summary["events_accounted"] == 320
    edits = summary["edits"]
    assert set(edits) <= {"live", "superseded", "retracted", "rejected"}
    assert sum(edits.values()) + summary["duplicates"] + summary["dead_lettered"] == 320
    assert min(edits["live"], edits["superseded"], edits["retracted"], summary["dead_lettered"]) > 10
    assert summary["reliability"] >= 0.98
    assert summary["generality"] >= 0.90
    assert summary["locality"]["far"] >= 0.99
    assert min(summary["locality"]["relation"], summary["locality"]["subject"]) >= 0.97
    assert summary["stale_answer_rate"] <= 0.01
    assert set(summary["regression"]) == {"far", "relation", "subject", "text", "retention"}

    # What the summary says is what lies in the folder.
    with open_ledger(f"sqlite:///{folder}/ledger.db") as ledger:
        head = ledger.generations.head()
        assert head is not None
        assert head.number == summary["generation"]
        assert ledger.audit.counts()[EditState.LIVE] == len(ledger.generations.live()) == edits["live"]
        # The second wave met facts that were live already.
        assert any(generation.disabled for generation in ledger.generations.since(0))
    metrics = (folder / "metrics.txt").read_text(encoding="utf-8")
    assert f'upkeep_edits{{state="live"}} {float(edits["live"])}' in metrics
    assert re.search(r'upkeep_fact_events_total\{outcome="dead_lettered"\} 19\.0', metrics)

    # A pipe gets plain lines, and a reader the facts that matter.
    assert "\x1b[" not in ran.stdout
    for reported in (
        "Facts to check by eye",
        "clusters",
        "generation",
        "regression",
        "upkeep facts --config",
    ):
        assert reported in ran.stdout
    assert still_running(folder / "upkeep.toml") == []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_no_process_behind(tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "demo"
    demo = subprocess.Popen(
        [*COMMAND, "--dir", str(folder)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "records published" in line:
                break
        assert len(still_running(folder / "upkeep.toml")) >= 2
        demo.send_signal(number)
        rest = demo.stdout.read()
    assert demo.returncode == 130, rest
    assert "Traceback" not in rest + (folder / "daemon.log").read_text(encoding="utf-8")
    assert still_running(folder / "upkeep.toml") == []


def test_the_console_answers_where_the_demo_says(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    command = [*COMMAND, "--stream", "--dir", str(folder)]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        address = next(line.split()[1] for line in demo.stdout if line.startswith("console "))
        assert address.endswith("/console")
        eventually(lambda: answers(address), "the console answers", seconds=180)
        assert "What changed" in httpx.get(address, follow_redirects=True).text
        demo.send_signal(signal.SIGINT)
        demo.stdout.read()
    assert demo.returncode == 0


def test_a_folder_that_is_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious", encoding="utf-8")
    ran = subprocess.run(
        [*COMMAND, "--dir", str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 1
    assert "is not empty" in ran.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
