"""Middleware in front of every HTTP request: a bound on its size, a count and a duration."""

import asyncio
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.openai_api.errors import ApiError
from monitoring.metrics.process_metrics import Metrics

_CLOSE = {"Connection": "close"}  # what may still come of it is no next request


BODY_SECONDS = 30.0  # for a whole body to arrive


class RequestLimitsMiddleware:
    """An ASGI middleware: refuses bodies over `max_body_bytes` with 413, slow ones with 408, counts and times the rest."""

    def __init__(
        self, app: ASGIApp, *, max_body_bytes: int, metrics: Metrics, body_seconds: float = BODY_SECONDS
    ) -> None:
        self._app = app
        self._body_seconds = body_seconds
        self._max_body_bytes = max_body_bytes
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection; anything but HTTP passes through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        status = 500  # what the client sees when the application raises

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            try:
                async with asyncio.timeout(self._body_seconds):
                    body = await self._read(scope, receive)
            except TimeoutError:
                late = f"the request's body did not arrive within {self._body_seconds:g} seconds"
                await ApiError(408, late, headers=_CLOSE).response()(scope, receive, note_status)
                return
            if body is None:
                refusal = ApiError(413, f"the request is larger than {self._max_body_bytes} bytes")
                await refusal.response()(scope, receive, note_status)
            else:
                await self._app(scope, _receive_again(body, receive), note_status)
        finally:
            # The template, never the path: a label must not grow with what clients ask for.
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.serve_requests.labels(route, str(status)).inc()
            self._metrics.serve_duration.labels(route).observe(time.monotonic() - started)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """The whole body; None as soon as it is known to be too large."""
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value[:20]) > self._max_body_bytes:
                return None
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            body += message.get("body", b"")
            if len(body) > self._max_body_bytes:
                return None
            more = message.get("more_body", False)
        return bytes(body)


def _receive_again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body in one piece, and then what the connection says."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return pending.pop() if pending else await receive()

    return receive_again
