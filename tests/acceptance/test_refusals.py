"""What cannot work is refused in one clear line, and the daemon does not try it over and over."""

import json
import subprocess
import sys
from pathlib import Path

from acceptance_support import BASE, House, environment, free_port, furnished

NOWHERE = {"kafka": {"bootstrap_servers": f"127.0.0.1:{free_port()}"}}  # no broker is needed to be refused


def test_a_wrong_key_ends_the_daemon_before_it_begins(tmp_path: Path) -> None:
    config = tmp_path / "upkeep.toml"
    config.write_text('[kafka]\nbootstrap_server = "localhost:9092"\n', encoding="utf-8")

    command = [sys.executable, "-m", "daemon", "run", "--config", str(config)]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60)

    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert "bootstrap_server" in line
    assert "bootstrap_servers" in line
    assert "line 2" in line


def test_a_base_that_cannot_be_used_ends_the_daemon_with_the_reason(tmp_path: Path) -> None:
    """All three at once: each start loads torch twice."""
    strange = tmp_path / "strange"
    strange.mkdir()
    for file in BASE.iterdir():
        (strange / file.name).write_bytes(file.read_bytes())
    told = json.loads((strange / "config.json").read_text(encoding="utf-8"))
    (strange / "config.json").write_text(json.dumps(told | {"model_type": "quux", "architectures": ["Quux"]}))
    changes = {
        "strange": NOWHERE | {"model": {"path": str(strange)}},
        "missing": NOWHERE | {"model": {"path": "./no-such-model"}},
        "another": NOWHERE,
    }
    ...
