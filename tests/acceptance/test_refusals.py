"""What cannot work is refused in one clear line, and the daemon does not try it over and over."""

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.acceptance_support import BASE, Daemon, environment, furnished
from support.waiting import free_port


@pytest.mark.parametrize(
    ("settings", "reported"),
    [
        ('[kafka]\nbootstrap_server = "localhost:9092"', "bootstrap_server"),
        ('[planner]\nbatch_size = "many"', "planner.batch_size"),
        ('[model]\npath = "./no-such-model"', "no-such-model"),
        ("", "model.path"),
    ],
)
def test_wrong_settings_end_the_daemon_before_it_begins(tmp_path: Path, settings: str, reported: str) -> None:
    config = tmp_path / "upkeep.toml"
    config.write_text(settings, encoding="utf-8")

    command = [sys.executable, "-m", "daemon", "run", "--config", str(config)]
    ended = subprocess.run(
        command, capture_output=True, text=True, env=environment(), timeout=60, check=False
    )

    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("upkeep: ")
    assert reported in line
    assert not (tmp_path / "upkeep-data").exists()


def test_roles_take_paths_from_where_kubernetes_mounts_the_file_not_from_where_its_link_leads(
    tmp_path: Path,
) -> None:
    mounted = tmp_path / "..2026_11_26_03_00_00.1"
    mounted.mkdir()
    text = f'[model]\npath = "{BASE}"\n[index]\nencoder = "./no-encoder"\n[serve]\nport = {free_port()}\n'
    (mounted / "upkeep.toml").write_text(
        f'{text}[kafka]\nbootstrap_servers = "127.0.0.1:{free_port()}"\n', encoding="utf-8"
    )
    (tmp_path / "..data").symlink_to(mounted.name)
    (tmp_path / "upkeep.toml").symlink_to("..data/upkeep.toml")

    command = [sys.executable, "-m", "daemon", "run", "--config", "upkeep.toml"]
    ended = subprocess.run(
        command, capture_output=True, text=True, env=environment(), cwd=tmp_path, timeout=120, check=False
    )

    assert ended.returncode == 1
    assert f"cannot load the sentence encoder '{tmp_path / 'no-encoder'}'" in ended.stderr
    assert (tmp_path / "upkeep-data" / "ledger.db").is_file()
    assert [path.name for path in mounted.iterdir()] == ["upkeep.toml"]


def test_a_base_that_cannot_be_used_ends_the_daemon_with_the_reason(tmp_path: Path) -> None:
    """Both at once, for each loads torch twice: an architecture that nobody knows, a ledger of another base."""
    strange = tmp_path / "base"
    shutil.copytree(str(BASE), strange)
    config = json.loads((strange / "config.json").read_text(encoding="utf-8"))
    config |= {"model_type": "quux", "architectures": ["QuuxForCausalLM"]}
    (strange / "config.json").write_text(json.dumps(config), encoding="utf-8")

    with contextlib.ExitStack() as stack:
        unknown = _started(stack, tmp_path / "unknown", {"model": {"path": str(strange)}})
        foreign = _started(stack, tmp_path / "foreign", {}, base_hash="sha256:of-another-base")
        for daemon in (unknown, foreign):
            assert daemon.process.wait(90) == 1
            assert daemon.roles() == {}
        for daemon, reason in ((unknown, "quux"), (foreign, "belongs to the base model")):
            lines = daemon.log_file.read_text(encoding="utf-8").splitlines()
            assert any(line.startswith("upkeep: ") and reason in line for line in lines)
            assert not any("role ended" in line for line in lines), "it was started again"
            assert not any("Traceback" in line or '"exception"' in line for line in lines)


def _started(
    stack: contextlib.ExitStack,
    folder: Path,
    changes: Mapping[str, Mapping[str, Any]],
    *,
    base_hash: str | None = None,
) -> Daemon:
    """A daemon in a house of its own; no broker is needed to be refused."""
    folder.mkdir()
    nowhere = {"kafka": {"bootstrap_servers": f"127.0.0.1:{free_port()}"}}
    site = stack.enter_context(furnished(folder, {**nowhere, **changes}))
    if base_hash is not None:
        site.ledger.generations.start(base_hash)
    return stack.enter_context(site.daemon())
