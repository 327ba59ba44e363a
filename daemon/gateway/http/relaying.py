"""One request and its answer as they pass the gateway: which headers go on, and when what an answer holds is let go of."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import httpx
import structlog
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from daemon.gateway.engine import EngineAway
from daemon.gateway.http.joining import EngineReplyUnreadable

MAX_JOINED_BYTES = 64 << 20  # of the parts of one answer, which are read whole
# Of one connection alone (RFC 9110, 7.6.1), or written anew.
_HOP_BY_HOP = frozenset(
    (
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection"),
        *(b"te", b"trailer", b"transfer-encoding", b"upgrade", b"host", b"content-length", b"expect"),
    )
)

_log = structlog.get_logger()


def holding(response: Response, stack: AsyncExitStack) -> Response:
    """The response, after which - sent or broken off - `stack` is closed."""
    return _HeldResponse(response, stack)


class _HeldResponse(Response):
    """A response that lets go of what it holds however it ends."""

    def __init__(self, response: Response, stack: AsyncExitStack) -> None:
        self._response = response
        self._stack = stack
        self.status_code = response.status_code
        self.background: BackgroundTask | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send it."""
        try:
            await self._response(scope, receive, send)
        except EngineAway as error:
            # The head is sent: only a connection that is closed before the end can still tell the client.
            _log.warning("answer_broken_off", reason=str(error))
        finally:
            await asyncio.shield(asyncio.ensure_future(self._stack.aclose()))


def target_of(request: Request) -> bytes:
    """Path and query as the client sent them."""
    path: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    query: bytes = request.scope["query_string"]
    return path.partition(b"?")[0] + (b"?" + query if query else b"")


def outgoing_headers(request: Request, *, plain: bool) -> list[tuple[bytes, bytes]]:
    """The request's headers for the engine; `plain`: no answer in a compressed form is wanted."""
    dropped = _HOP_BY_HOP | _named_by_connection(request.headers.raw)
    if plain:
        dropped |= {b"accept-encoding"}
    return [(name, value) for name, value in request.headers.raw if name.lower() not in dropped]


def incoming_headers(reply: httpx.Response) -> list[tuple[bytes, bytes]]:
    """The answer's headers for the client."""
    dropped = (_HOP_BY_HOP | _named_by_connection(reply.headers.raw)) - {b"content-length"}
    # `x-upkeep-*` is said by the gateway alone.
    pairs = [(name.lower(), value) for name, value in reply.headers.raw]
    return [(n, v) for n, v in pairs if n not in dropped and not n.startswith(b"x-upkeep-")]


def _named_by_connection(raw: list[tuple[bytes, bytes]]) -> frozenset[bytes]:
    named = (value for name, value in raw if name.lower() == b"connection")
    return frozenset(one.strip().lower() for value in named for one in value.split(b","))


async def whole_body(response: Response) -> bytes:
    """The body of an answer that is read here.

    Raises:
        EngineReplyUnreadable: it is too large.
    """
    if not isinstance(response, StreamingResponse):
        return bytes(response.body)
    pieces, size = [], 0
    async for piece in response.body_iterator:
        pieces.append(piece.encode() if isinstance(piece, str) else bytes(piece))
        size += len(pieces[-1])
        if size > MAX_JOINED_BYTES:
            raise EngineReplyUnreadable("the engine's answer is too large to be joined")
    return b"".join(pieces)


def json_object(body: bytes) -> dict[str, Any]:
    """The body of an answer that is a JSON object.

    Raises:
        EngineReplyUnreadable: it is none.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise EngineReplyUnreadable("the engine's answer is no JSON") from error
    if not isinstance(found, dict):
        raise EngineReplyUnreadable("the engine's answer is no JSON object")
    return found
