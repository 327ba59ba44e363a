"""Who may ask, where health is told, and what an abandoned request leaves behind: nothing."""

import hashlib
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError
from support.serving_support import Fact, embedded_server
from support.waiting import eventually, free_port

from daemon.settings.http_tables import ServeSettings

KEY = "a-key-of-thirty-two-characters-x"
FRANCE = Fact("France", "The capital of France is", "Lyon")


def test_without_keys_only_loopback_may_be_listened_on_unless_it_is_said_to_be_insecure() -> None:
    for host in ("127.0.0.1", "127.0.0.2", "::1", "localhost"):
        assert ServeSettings(host=host).key_hashes == ()
    for host in ("0.0.0.0", "::", "10.1.2.3", "upkeep.example.org"):  # noqa: S104
        with pytest.raises(ValidationError, match="without keys"):
            ServeSettings(host=host)
        assert ServeSettings(host=host, insecure=True).host == host
        assert ServeSettings(host=host, api_key=KEY).key_hashes == (hashlib.sha256(KEY.encode()).hexdigest(),)
    with pytest.raises(ValidationError, match="16 characters"):
        ServeSettings(api_key="short")
    with pytest.raises(ValidationError):
        ServeSettings(api_keys=("no hash",))


def test_keys_guard_the_api_health_has_a_port_of_its_own_and_browsers_are_told_who_may_ask(
    tmp_path: Path,
) -> None:
    port = free_port()
    hashes = [hashlib.sha256(KEY.encode()).hexdigest().upper()]
    origin = "https://chat.example.org"
    other = "b-key-of-thirty-two-characters-y"
    server_settings: dict[str, Any] = {
        "api_keys": hashes,
        "api_key": f"{other}, {other}2",
        "cors_origins": [origin],
    }
    with embedded_server(tmp_path, health_port=port, **server_settings) as server:
        for wrong in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {KEY}"}):
            refused = server.post("/v1/completions", {"prompt": "x"}, headers=wrong)
            assert refused.status_code == 401
            assert refused.json()["error"]["code"] == "invalid_api_key"
            assert refused.json()["error"]["type"] == "authentication_error"
            assert refused.headers["x-request-id"]
        for right in (KEY, other, f"{other}2"):
            asked = {"Authorization": f"Bearer {right}", "Origin": origin}
            reply = server.post("/v1/completions", {"prompt": "x", "max_tokens": 1}, headers=asked)
            assert reply.status_code == 200
            assert reply.headers["access-control-allow-origin"] == origin
        assert server.get("/metrics").status_code == server.get("/healthz").status_code == 404
        preflight = httpx.options(
            f"{server.url}/v1/completions",
            headers={"Origin": "https://evil.example.org", "Access-Control-Request-Method": "POST"},
        )
        assert "access-control-allow-origin" not in preflight.headers
        beside = f"http://127.0.0.1:{port}"
        assert httpx.get(f"{beside}/readyz").json() == {"status": "ready", "generation": "0"}
        counted = httpx.get(f"{beside}/metrics").text
        assert 'upkeep_serve_requests_total{route="other",status="401"} 3.0' in counted
        assert KEY not in counted
        assert httpx.post(f"{beside}/v1/completions", json={"prompt": "x"}).status_code == 404


def test_rows_of_clients_that_went_away_leave_the_batch(tmp_path: Path) -> None:
    long = {"prompt": "The", "max_tokens": 400, "temperature": 2, "top_p": 1, "n": 8}
    with embedded_server(tmp_path, [FRANCE], max_completion_tokens=400) as server:
        for stream in (False, True):
            for _ in range(8):
                with pytest.raises(httpx.ReadTimeout):
                    server_post_and_go(f"{server.url}/v1/completions", {**long, "stream": stream})
        asked = time.monotonic()
        reply = server.post("/v1/completions", {"prompt": FRANCE.prompt})
        assert reply.json()["choices"][0]["text"] == f" {FRANCE.answer}"
        assert time.monotonic() - asked < 10
        gone = 'upkeep_serve_requests_total{route="/v1/completions",status="499"}'
        eventually(lambda: server.metric(gone) >= 1)


def server_post_and_go(url: str, body: dict[str, object]) -> None:
    """Read for a moment, and close the connection."""
    timeout = httpx.Timeout(5, read=0.05)
    with httpx.Client(timeout=timeout) as client, client.stream("POST", url, json=body) as reply:
        for _ in reply.iter_bytes():
            pass
        raise httpx.ReadTimeout("the answer was short")
