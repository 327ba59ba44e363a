"""`upkeep run --embedded`: the first hour, as a newcomer spends it, with a real process and OpenAI's own client."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import openai
import pytest
from support.acceptance_support import BASE, Site, environment, news, processes_of, still_running
from support.models.chat_templates import TURNS
from support.waiting import eventually

from daemon.ingest.kafka_client import ProducerRecord
from daemon.ledger import open_ledger
from daemon.process import parent_watch
from daemon.settings.settings import load_settings

SLOW_SECONDS = (
    180  # each of two roles loads torch and the base, twice over, beside whatever else the machine does
)
GARBAGE = 1_200  # records: more than the consumer takes in one poll

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A chat model's folder."""
    folder = tmp_path / "tiny"
    shutil.copytree(str(BASE), folder)
    (folder / "chat_template.jinja").write_text(TURNS, encoding="utf-8")
    return folder


@contextlib.contextmanager
def _embedded(folder: Path, *options: str, **variables: str) -> Iterator["subprocess.Popen[bytes]"]:
    """The command in a process group of its own, as a shell starts it; what it prints is in `out` and `err`."""
    command = [sys.executable, "-m", "daemon", "run", "--embedded", *options]
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen(
            command,
            cwd=folder,
            # It also stops when the tests are killed.
            env=environment() | {parent_watch.VARIABLE: "stdin"} | variables,
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=err,
            process_group=0,
        )
    try:
        yield process
    finally:
        process.kill()  # its roles notice; its broker goes with it
        process.communicate()


def _interrupt(process: "subprocess.Popen[bytes]") -> int:
    """Ctrl-C, as a terminal sends it: to the whole group."""
    os.killpg(process.pid, signal.SIGINT)
    return process.wait(SLOW_SECONDS)


def _announced(folder: Path) -> str:
    """What it printed once it was ready."""
    out = folder / "out"
    eventually(
        lambda: "In another terminal" in out.read_text(encoding="utf-8"),
        "it says that it runs",
        seconds=SLOW_SECONDS,
    )
    return out.read_text(encoding="utf-8")


def _command(folder: Path, arguments: Sequence[str], **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "daemon", *arguments],
        cwd=folder,
        env=environment() | variables,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def _site(state: Path) -> Iterator[Site]:
    settings = load_settings(state / "upkeep.toml")
    with open_ledger(settings.ledger.url) as ledger:
        yield Site(state, settings, ledger)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")
def test_the_first_hour_from_one_command_to_an_answer_and_over_a_restart(tmp_path: Path, model: Path) -> None:
    first, second = news("hour", 2)
    facts = tmp_path / "facts.jsonl"
    facts.write_bytes(first.record.value + b"\n" if first.record.value else b"")
    config = tmp_path / "upkeep-data" / "upkeep.toml"

    with _embedded(tmp_path, "--model", "tiny") as process:
        printed = _announced(tmp_path)
        (named,) = re.findall(r"export UPKEEP_CONFIG=(\S+)", printed)
        assert named == str(config)
        (console,) = re.findall(r"console +(\S+/console)\n", printed)
        assert "What changed" in httpx.get(console, follow_redirects=True, timeout=20).text
        # From another folder by the variable; from the same one without it.
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        assert "1 event sent" in _command(elsewhere, ["submit", str(facts)], UPKEEP_CONFIG=named)

        with _site(config.parent) as site:
            eventually(lambda: first.event_id in site.live_events(), "the fact is live", seconds=SLOW_SECONDS)
            site.wait_served()
            (url,) = re.findall(r"answers +(\S+/v1) ", printed)
            with openai.OpenAI(base_url=url, api_key="unused", max_retries=0) as client:
                reply = client.chat.completions.create(
                    model="tiny", messages=[{"role": "user", "content": first.prompt}]
                )
            assert first.value in str(reply.choices[0].message.content)
            asked = json.loads(_command(tmp_path, ["ask", first.prompt, "--chat", "--json"]))
            assert first.value in asked["edited"]
            assert first.value not in asked["base"]

            refused = subprocess.run(
                [sys.executable, "-m", "daemon", "run", "--embedded", "--model", "tiny"],
                cwd=tmp_path,
                env=environment(),
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert refused.returncode == 1
            assert f"process {process.pid} runs in the folder {config.parent} already" in refused.stderr

            # What the broker has confirmed is in the ledger before the broker goes.
            topic = site.settings.kafka.topic
            site.publish(ProducerRecord(topic, None, b"no event %d" % n) for n in range(GARBAGE))
            assert _interrupt(process) == 0
            assert site.outcomes() == {"accepted": 1, "duplicate": 0, "dead_lettered": GARBAGE}
    eventually(lambda: still_running(config) == [], "all processes have ended", seconds=20)
    assert "Traceback" not in (tmp_path / "err").read_text(encoding="utf-8")

    # In a terminal that did what it was told: the file says which model.
    with _embedded(tmp_path, UPKEEP_CONFIG=str(config)) as process:
        _announced(tmp_path)
        with _site(config.parent) as site:
            site.wait_served()
            assert site.answers([first.prompt]) == [first.value]
            # The broker dies; another one stands in its place.
            (broker,) = [pid for pid, line in processes_of(config).items() if " broker " in line]
            os.kill(broker, signal.SIGKILL)
            eventually(
                lambda: b"had ended: started again" in (tmp_path / "err").read_bytes(), "it is noticed"
            )
            site.publish([second.record])
            eventually(
                lambda: second.event_id in site.live_events(),
                "the second fact is live",
                seconds=SLOW_SECONDS,
            )
            assert _interrupt(process) == 0
    eventually(lambda: still_running(config) == [], "all processes have ended", seconds=20)


def test_without_its_encoder_it_ends_with_what_to_do_and_leaves_nothing_behind(
    tmp_path: Path, model: Path
) -> None:
    (tmp_path / "own.toml").write_text("[index]\nencoder = './no-encoder'\n[serve]\nmodel_name = 'mine'\n")

    with _embedded(tmp_path, "--model", "tiny", "--config", "own.toml", "--state", "here") as process:
        assert process.wait(SLOW_SECONDS) == 1

    lines = (tmp_path / "err").read_text(encoding="utf-8").splitlines()
    assert any(
        line.startswith(f"upkeep: cannot load the sentence encoder '{tmp_path / 'no-encoder'}'")
        for line in lines
    )
    assert not any("Traceback" in line for line in lines)
    eventually(
        lambda: still_running(tmp_path / "here" / "upkeep.toml") == [], "all processes have ended", seconds=20
    )
    # The rest of the reader's file is what the roles were given.
    assert load_settings(tmp_path / "here" / "upkeep.toml").serve.model_name == "mine"
