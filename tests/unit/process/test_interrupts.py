"""Interrupted commands: what whoever started them sees."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = """
import os, signal, sys
from daemon.process.interrupts import interrupt_on
interrupt_on(signal.{0})
try:
    exec("os.kill(os.getpid(), signal.{0}); signal.pause()")  # as an import of torch may be at work
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_command_that_is_interrupted_within_an_import_ends_with_its_own_code(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "interrupted.py").write_text(COMMAND.format(name), encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), *sys.path)))

    # CPython's own handling of it differs between `-m`, as the roles are started, and a script.
    assert subprocess.run([sys.executable, "-m", "interrupted"], check=False).returncode == 130


def test_a_signal_that_the_parent_has_us_ignore_stays_ignored() -> None:
    def ignore() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    command = COMMAND.format("SIGINT").replace("; signal.pause()", "")
    ran = subprocess.run([sys.executable, "-c", command], preexec_fn=ignore, check=False)

    assert ran.returncode == 0
