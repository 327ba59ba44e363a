"""Ask the running daemon over HTTP: a command that need not load a model takes hundredths of a second, not ten seconds."""

import json
import os
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import TYPE_CHECKING, Any

from daemon.process.addresses import http_address, reachable
from edits.errors import BadRequest

if TYPE_CHECKING:
    from daemon.ledger import Ledger
    from daemon.settings.settings import Settings

KEY_VARIABLE = "UPKEEP_API_KEY"
CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 120.0
MAX_REPLY_BYTES = 16 << 20


class DaemonClient:
    """One address of the daemon; whatever keeps it from answering makes `ask` return None."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = reachable(host), port
        self.refusal: str | None = None

    @property
    def address(self) -> str:
        return http_address(self._host, self._port)

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """The JSON object that the daemon answers with; None where nobody answers, or not with one.

        Raises:
            BadRequest: the daemon has read the request and refuses it.
        """
        try:
            connection = HTTPConnection(self._host, self._port, timeout=CONNECT_SECONDS)
            connection.connect()
            connection.sock.settimeout(ANSWER_SECONDS)
            try:
                sent = None if body is None else json.dumps(body)
                connection.request("GET" if body is None else "POST", path, sent, self._headers())
                reply = connection.getresponse()
                return self._read(reply, reply.read(MAX_REPLY_BYTES))
            finally:
                connection.close()
        except (OSError, HTTPException, ValueError):
            return None

    def _headers(self) -> dict[str, str]:
        key = os.environ.get(KEY_VARIABLE)
        return {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}

    def _read(self, reply: HTTPResponse, content: bytes) -> dict[str, Any] | None:
        found = json.loads(content)
        if reply.status in (401, 403):
            self.refusal = f"the daemon at {self.address} asks for an API key: set {KEY_VARIABLE}"
        if reply.status in (400, 422) and isinstance(found, dict):
            error = found.get("error")
            raise BadRequest(str(error.get("message")) if isinstance(error, dict) else str(found)[:200])
        return found if reply.status == 200 and isinstance(found, dict) else None


def server_of(settings: "Settings", ledger: "Ledger") -> DaemonClient | None:
    """The running `serve` of these settings, if it follows this very ledger, or refuses to tell; None: there is none."""
    client = DaemonClient(settings.serve.host, settings.serve.port)
    found = client.ask("/v1/generation")
    if found is None:
        return client if client.refusal else None
    head = ledger.timeline.page(limit=1).generations
    ours = head and (head[0].number, head[0].created_at.isoformat())
    return client if ours == (found.get("head"), found.get("published_at")) else None
