"""`upkeep run`: one child process for each role, started again when it dies, stopped together."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from prometheus_client.multiprocess import mark_process_dead

from daemon.process import parent_watch
from daemon.process.metrics_folder import VARIABLE as METRICS_FOLDER
from daemon.process.metrics_folder import MetricsFolder, metrics_folder

ROLES = ("consume", "schedule", "worker", "serve")
EXIT_PERMANENT = frozenset({1, 2})  # as daemon.__main__ exits on PermanentError and on wrong settings
POLL_SECONDS = 0.1

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Role:
    """What to start, and under which name it stands in the logs."""

    name: str
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long a dead child stays down: first, twice that, four times ..., but never more than the maximum."""

    first_seconds: float = 1.0
    max_seconds: float = 60.0
    healthy_seconds: float = 60.0  # a child that ran this long starts again from `first_seconds`

    def delay(self, failures: int) -> float:
        """Seconds to wait after this many short runs in a row (1: the first)."""
        return min(self.max_seconds, self.first_seconds * 2.0 ** min(failures - 1, 30))


@dataclass(slots=True)
class _Child:
    role: Role
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    start_at: float = 0.0
    failures: int = 0
    was_healthy: bool = field(default=False)


def daemon_roles(config: Path) -> tuple[Role, ...]:
    """The four roles of a whole daemon, each `python -m daemon ROLE --config FILE`."""
    return tuple(
        Role(name, (sys.executable, "-m", "daemon", name, "--config", str(config))) for name in ROLES
    )


class Supervisor:
    """Keeps its roles running until `stop` is set, then ends them gracefully.

    A role that ends with a permanent error before it ever ran well ends the whole: restarting cannot help,
    and the role has said why. Every other end is followed by a restart with exponential back-off.
    """

    def __init__(
        self,
        roles: Sequence[Role],
        *,
        stop: threading.Event,
        backoff: Backoff | None = None,
        stop_seconds: float = 30.0,
        environment: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        between: Callable[[], None] | None = None,
    ) -> None:
        """
        Args:
            between: called after each look at the roles, ten times a second; what it raises ends all.
        """
        self._children = [_Child(role) for role in roles]
        self._stop = stop
        self._backoff = backoff or Backoff()
        self._stop_seconds = stop_seconds
        self._environment = dict(os.environ if environment is None else environment)
        self._clock = clock
        self._between = between

    def run(self) -> int:
        """Start all roles, watch over them, stop them; returns the exit code of the whole.

        Raises:
            NoTemporaryFolder: there is nowhere to write to.
        """
        with metrics_folder() as folder:
            self._environment[METRICS_FOLDER] = str(folder.path)
            self._environment[parent_watch.VARIABLE] = "stdin"
            exit_code = 0
            try:
                while not self._stop.is_set() and exit_code == 0:
                    exit_code = self._watch_once(folder)
                    if self._between is not None:
                        self._between()
                    self._stop.wait(POLL_SECONDS)
            finally:
                self._end_all()
        return exit_code

    def _watch_once(self, folder: MetricsFolder) -> int:
        for child in self._children:
            if child.process is None:
                if self._clock() >= child.start_at:
                    self._start(child, folder)
                continue
            code = child.process.poll()
            if code is None:
                continue
            # Its counters stay, and the next one goes on with them; its live gauges go.
            mark_process_dead(child.role.name, path=str(folder.path))  # type: ignore[no-untyped-call]
            ran = self._clock() - child.started
            if ran >= self._backoff.healthy_seconds:
                child.was_healthy, child.failures = True, 0
            _close(child)
            if code in EXIT_PERMANENT and not child.was_healthy:
                _log.error("a role cannot run: stopping all", died=child.role.name, exit_code=code)
                return code
            self._start_later(child, code, ran)
        return 0

    def _start(self, child: _Child, folder: MetricsFolder) -> None:
        child.started = self._clock()
        child.process = subprocess.Popen(  # noqa: S603  -- our own interpreter and our own modules
            child.role.command,
            stdin=subprocess.PIPE,  # for its parent-death watch
            pass_fds=[folder.lock],  # as long as it lives, nobody sweeps the folder away
            env=self._environment,
            # A terminal's Ctrl-C reaches the supervisor alone, which then stops the roles in its own way.
            start_new_session=True,
        )
        _log.info("role started", started=child.role.name, pid=child.process.pid)

    def _start_later(self, child: _Child, code: int, ran: float) -> None:
        child.failures += 1
        delay = self._backoff.delay(child.failures)
        child.start_at = self._clock() + delay
        _log.warning(
            "role ended",
            died=child.role.name,
            how=_how(code),
            ran_seconds=round(ran, 1),
            restart_in_seconds=delay,
        )

    def _end_all(self) -> None:
        running = [child for child in self._children if child.process is not None]
        for child in running:
            if child.process is not None and child.process.poll() is None:
                child.process.terminate()
        deadline = self._clock() + self._stop_seconds
        for child in running:
            if child.process is None:
                continue
            try:
                child.process.wait(timeout=max(0.0, deadline - self._clock()))
            except subprocess.TimeoutExpired:
                _log.warning("role did not stop in time: killing it", killed=child.role.name)
                child.process.kill()
                child.process.wait()
            _close(child)
        _log.info("all roles stopped")


def _close(child: _Child) -> None:
    if child.process is not None and child.process.stdin is not None:
        child.process.stdin.close()
    child.process = None


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
