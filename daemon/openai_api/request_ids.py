"""Middleware that gives every reply an `x-request-id`: the client's own where it sent a fit one, else a new one."""

import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "x-request-id"
STATE_KEY = "request_id"  # where the application finds it: `request.state.request_id`
_FIT = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class RequestIdMiddleware:
    """An ASGI middleware; anything but HTTP passes through."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(Headers(scope=scope).get(HEADER))
        scope.setdefault("state", {})[STATE_KEY] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        await self._app(scope, receive, send_with_id)


def request_id_of(given: str | None) -> str:
    """The client's id, if it is one that may stand in a header and a log; else a new one."""
    return given if given is not None and _FIT.fullmatch(given) else f"req-{uuid.uuid4().hex}"
