"""The serving role as a whole: alive at once, ready when loaded, behind the head for a moment only."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from support.counting_model import CountingModel

from daemon.serving import serve_role
from daemon.settings.http_tables import ServeSettings
from daemon.settings.settings import Settings
from daemon.settings.tables import LedgerSettings, ModelSettings
from edits.errors import TemporaryError


@pytest.fixture
def role(tmp_path: Path) -> Iterator["RunningRole"]:
    """The whole role on a real socket and a real ledger; only the model is the counting one."""
    running = RunningRole(tmp_path)
    yield running
    running.end()


class RunningRole:
    """`daemon.serving.serve_role.run` in a thread, and a client for it."""

    def __init__(self, folder: Path) -> None:
        self.model = CountingModel()
        self.may_load = threading.Event()
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.settings = Settings(
            model=ModelSettings(path="tiny"),
            ledger=LedgerSettings(url=f"sqlite:///{folder}/ledger.db"),
            serve=ServeSettings(port=self.port),
        )
        self.stop = threading.Event()
        self._thread = threading.Thread(
            target=serve_role.run,
            args=(self.settings, self.stop),
            kwargs={"open_model": self._open_model, "follow_seconds": 0.02},
        )
        self._thread.start()
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=20)
        self.wait_for("/healthz", lambda reply: reply.status_code == 200)

    def _open_model(self, _settings: object, _ledger: object) -> CountingModel:
        assert self.may_load.wait(20)
        return self.model

    def wait_for(self, path: str, wanted: Callable[[httpx.Response], bool]) -> httpx.Response:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.ConnectError):
                reply = self.client.get(path)
                if wanted(reply):
                    return reply
            time.sleep(0.02)
        raise AssertionError(f"waited too long for {path}")

    def end(self) -> None:
        self.may_load.set()
        self.stop.set()
        self._thread.join(20)
        self.client.close()
        assert not self._thread.is_alive()


def test_the_role_is_alive_at_once_ready_when_loaded_and_follows_the_head(role: RunningRole) -> None:
    assert role.client.get("/readyz").status_code == 503

    role.may_load.set()
    role.wait_for("/readyz", lambda reply: reply.status_code == 200)
    assert "upkeep_ledger_up 1.0" in role.client.get("/metrics").text

    role.model.published = 4
    role.wait_for("/v1/generation", lambda reply: reply.json()["generation"] == 4)
    assert role.client.post("/v1/generate", json={"prompts": ["a"]}).json()["generation"] == 4


def test_a_taken_port_is_told_before_the_model_is_loaded(role: RunningRole) -> None:
    with pytest.raises(TemporaryError, match=f"cannot listen on 127.0.0.1:{role.port}"):
        serve_role.run(role.settings, threading.Event())
