"""Waiting for what is so soon, and a port that is free now."""

import socket
import time
from collections.abc import Callable
from typing import Any

import httpx


def eventually(happened: Callable[[], Any], what: str = "it happens", *, seconds: float = 60) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"not in {seconds} seconds: {what}"
        time.sleep(0.05)


def answers(url: str) -> bool:
    """A server is there, and gives what is asked for."""
    try:
        return httpx.get(url, follow_redirects=True, timeout=20).status_code == 200
    except httpx.TransportError:
        return False


def free_port() -> int:
    """Nobody listens there at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
