"""Server-sent events as OpenAI's clients read them."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from pydantic import BaseModel
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

DONE = b"data: [DONE]\n\n"
MEDIA_TYPE = "text/event-stream"
# A proxy that collects a stream before it passes it on makes it none.
STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def event(data: BaseModel | Mapping[str, Any]) -> bytes:
    """One event."""
    if isinstance(data, BaseModel):
        text = data.model_dump_json()
    else:
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return b"data: " + text.encode() + b"\n\n"


class EventStreamResponse(StreamingResponse):
    """A stream of events; that the client goes away cancels what produces them."""

    media_type = MEDIA_TYPE

    def __init__(
        self,
        events: AsyncIterator[bytes],
        headers: Mapping[str, str] | None = None,
        *,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        """
        Args:
            on_end: called once the stream is over, however it ended: also where the client went before it began.
        """
        super().__init__(events, headers=STREAM_HEADERS | dict(headers or {}), media_type=MEDIA_TYPE)
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream, until it ends or the client goes away."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self._on_end is not None:
                self._on_end()
