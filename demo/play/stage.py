"""The demo's stage: a folder of its own, an embedded broker, a ledger, and the whole daemon as a real process."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

from daemon.cli.output import shown
from daemon.ingest.embedded_broker import EmbeddedBroker
from daemon.ledger import Ledger, open_ledger
from daemon.process import parent_watch
from daemon.process.listening import free_port
from daemon.settings.settings import ENV_PREFIX, Settings, load_settings
from daemon.settings.settings_file import write_settings
from editors.index.encoder_place import find_encoder
from edits.errors import PermanentError

STOP_SECONDS = 45.0  # the supervisor gives its roles 30
LOG_LINES = 12

HEADER = "Written by `upkeep demo`. What is not named here has its default; `upkeep init` explains every key."


class DemoFailed(PermanentError):
    """The demo cannot go on; the message says why and shows what the daemon said last."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that runs and lies around while the demo plays."""

    folder: Path
    settings: Settings
    ledger: Ledger
    daemon: "DaemonProcess"

    @property
    def config(self) -> Path:
        """The settings file, for `upkeep ... --config`."""
        return self.folder / "upkeep.toml"

    @property
    def url(self) -> str:
        """Where the daemon answers."""
        return f"http://{self.settings.serve.host}:{self.settings.serve.port}"


class DaemonProcess:
    """`upkeep run` as a child process, its log in a file; however this process ends, the child ends too."""

    def __init__(self, config: Path, log: Path) -> None:
        self._config = config
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None

    def __enter__(self) -> "DaemonProcess":
        self._output = self.log.open("wb")
        self._process = subprocess.Popen(  # noqa: S603 -- our own interpreter and our own module
            [sys.executable, "-m", "daemon", "run", "--config", str(self._config)],
            cwd=self._config.parent,
            # Without our pipe's other end the daemon stops by itself, even when we are killed with -9.
            env={**os.environ, parent_watch.VARIABLE: "stdin"},
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a terminal's Ctrl-C reaches the demo alone, which then stops the daemon
        )
        return self

    def __exit__(self, *_: object) -> None:
        process = self._process
        if process is None or process.stdin is None or self._output is None:
            return
        with _signals_ignored():
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdin.close()
            self._output.close()

    def require_running(self) -> None:
        """Raise DemoFailed if the daemon has ended, which it never does by itself while a restart could help."""
        code = self._process.poll() if self._process is not None else None
        if code is not None:
            raise DemoFailed(f"the daemon ended with exit code {code}\n{self.last_words()}")

    def last_words(self) -> str:
        """The end of its log."""
        with self.log.open(encoding="utf-8", errors="replace") as lines:
            end = deque(lines, maxlen=LOG_LINES)
        reported = "".join(f"  {shown(line.rstrip())[:300]}\n" for line in end)
        return f"the end of {self.log}:\n{reported}"


@contextlib.contextmanager
def staged(folder: Path, *, far_prompts: Sequence[str]) -> Iterator[Stage]:
    """Set everything up in `folder` and start it; at the end everything is stopped, the folder stays.

    Raises:
        DemoFailed: the folder is in use or cannot be made.
        BrokerMissing: there is no embedded broker for this machine.
        EncoderUnreadable: the sentence encoder is neither installed nor to be had.
    """
    find_encoder()  # before anything is started
    _make(folder)
    with EmbeddedBroker() as broker:
        config = folder / "upkeep.toml"
        write_settings(config, _tables(broker.bootstrap_servers), header=HEADER)
        lines = (json.dumps({"prompt": prompt, "kind": "far"}) + "\n" for prompt in far_prompts)
        (folder / "far.jsonl").write_text("".join(lines), encoding="utf-8")
        settings = load_settings(config)
        with open_ledger(settings.ledger.url) as ledger:
            ledger.migrate()
            with DaemonProcess(config, folder / "daemon.log") as daemon:
                yield Stage(folder, settings, ledger, daemon)


def forget_settings_of_the_environment() -> None:
    """A demo must not write to the ledger, or read the topic, that some variable names for real work."""
    for name in [name for name in os.environ if name.upper().startswith(ENV_PREFIX)]:
        del os.environ[name]


def _tables(brokers: str) -> Mapping[str, Mapping[str, Any]]:
    """The demo's settings; nightly_cron stays at two at night: the demo asks for that plan itself."""
    return {
        "model": {
            "path": files("demo").joinpath("base"),
            "max_new_tokens": 20,
        },  # no answer of this world is longer
        # The embedded broker lets a joining consumer wait for half of the session.
        "kafka": {"bootstrap_servers": brokers, "session_timeout_ms": 3_000},
        "consumer": {"templates": files("demo").joinpath("data", "templates.toml")},
        "ledger": {"url": "sqlite:///ledger.db"},
        "store": {"path": "adapters"},
        "worker": {"poll_seconds": 0.2},
        "schedule": {"urgent_seconds": 1.0},
        "monitoring": {"suites": {"far": "far.jsonl"}},
        "serve": {"port": free_port()},
    }


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise DemoFailed(f"{folder} is not empty: the demo starts afresh, name another --dir")
    except OSError as error:
        raise DemoFailed(f"{folder} cannot be used: {error.strerror}; name another --dir") from error


@contextlib.contextmanager
def _signals_ignored() -> Iterator[None]:
    """An impatient second Ctrl-C must not leave a process behind; the waiting is bounded."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
