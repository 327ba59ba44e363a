"""Middleware that asks for an API key: `Authorization: Bearer KEY`, of which only the SHA-256 is known here."""

import hashlib
import hmac
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from daemon.openai_api.errors import ApiError
from monitoring.metrics.process_metrics import Metrics

GUARDED = "/v1/"  # health, metrics and the reference tell nothing that a key would guard
MAX_KEY_BYTES = 1_024


def hash_key(key: str) -> str:
    """The SHA-256 of a key, in hex, as it stands in the settings."""
    return hashlib.sha256(key.encode()).hexdigest()


class ApiKeyMiddleware:
    """An ASGI middleware: refuses requests to `/v1/` without one of the keys with 401, before their body is read."""

    def __init__(self, app: ASGIApp, *, key_hashes: Sequence[str], metrics: Metrics) -> None:
        self._app = app
        self._hashes = tuple(one.lower() for one in key_hashes)
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection; anything but HTTP passes through."""
        if scope["type"] != "http" or not scope["path"].startswith(GUARDED) or self._knows(scope):
            await self._app(scope, receive, send)
            return
        self._metrics.serve_requests.labels("other", "401").inc()
        refusal = ApiError(
            401,
            "an API key is needed: send it as Authorization: Bearer KEY",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )
        await refusal.response()(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key or len(key) > MAX_KEY_BYTES:
            return False
        presented = hash_key(key.strip())
        # All are compared, each in constant time: how long it takes says nothing about any of them.
        return sum(hmac.compare_digest(presented, known) for known in self._hashes) > 0
