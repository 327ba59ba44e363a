"""A container with a read-only root: what is missing is told in one line, and with a volume at /tmp nothing is missing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]

# A mount namespace of our own, in which everything is read-only but what is mounted last.
SCRIPT = """
mount --make-rprivate / || exit 99
writable=$1; shift
[ -z "$writable" ] || mount -t tmpfs none "$writable" || exit 99
for place in $(awk '{print $5}' /proc/self/mountinfo); do
  case $place in /proc*|/sys*|/dev*|"$writable") continue ;; esac
  mount -o remount,ro,bind "$place" 2> /dev/null
done
! touch "$PWD/x" 2> /dev/null || exit 99
exec "$@"
"""


def _upkeep(
    folder: Path, *arguments: str, writable: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    reported = subprocess.run(
        [
            "unshare",
            "--mount",
            "bash",
            "-c",
            SCRIPT,
            "bash",
            str(writable or ""),
            sys.executable,
            "-m",
            "daemon",
            *arguments,
        ],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": str(writable or ""),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if reported.returncode == 99 or "unshare:" in reported.stderr:
        pytest.skip("this user may not make a mount namespace")
    return reported


@pytest.fixture
def site(tmp_path: Path) -> Path:
    base = REPOSITORY / "demo" / "base"
    (tmp_path / "upkeep.toml").write_text(
        f"[model]\npath = '{base}'\n[index]\nencoder = './none'\n", encoding="utf-8"
    )
    (tmp_path / "writable").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    "command", [("run",), ("consume",), ("schedule",), ("worker",), ("serve",), ("gateway",)]
)
def test_without_a_temporary_folder_every_role_says_what_to_mount(
    site: Path, command: tuple[str, ...]
) -> None:
    reported = _upkeep(site, *command)

    assert reported.returncode == 1, reported.stderr
    (line,) = reported.stderr.splitlines()
    assert line.startswith("upkeep: no folder for temporary files can be written")
    assert line.endswith("mount one at /tmp, or set TMPDIR")


def test_without_a_folder_for_the_ledger_its_path_is_told(site: Path) -> None:
    reported = _upkeep(site, "consume", writable=site / "writable")

    assert reported.returncode == 75
    (line,) = reported.stderr.splitlines()
    assert line.startswith("upkeep: the ledger's folder cannot be made")
    assert str(site / "upkeep-data") in line


def test_an_embedded_daemon_names_the_folder_that_it_cannot_make(site: Path) -> None:
    reported = _upkeep(site, "run", "--embedded", writable=site / "writable")

    assert reported.returncode == 1
    (line,) = reported.stderr.splitlines()
    assert line == (
        f"upkeep: the folder {site / 'upkeep-data'} cannot be used: Read-only file system; name another one with --state"
    )
