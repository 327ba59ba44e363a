"""Asks the gateway over HTTP, as any client does; what it says is not trusted."""

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import httpx

from daemon.openai_api.errors import ADAPTER_UNAVAILABLE
from daemon.openai_api.model_list import PATH as MODELS
from daemon.openai_api.model_list import served_base
from daemon.openai_api.prompt_form import path_for, prompt_form
from daemon.openai_api.provenance import ADAPTER_HEADER, EDIT_HEADER, GENERATION_HEADER
from edits.prompts import Conversation, Prompt
from monitoring.checks.parity import GatewayAnswer, NotMeasured

CONCURRENT = 8
TIMEOUT_SECONDS = 10.0  # urgent batches wait meanwhile
MAX_REPLY_BYTES = 1 << 20
MAX_ID_CHARS = 200
_NO_ADAPTER = "its adapter could not be loaded"
# Nothing is said about an edit where the key is refused, the path is unknown, or too many ask.
_NOT_ITS_FAULT = frozenset((401, 403, 404, 408, 425, 429))


class _Unreadable(Exception):
    """The reply is no answer of a gateway; the message never repeats it."""


class GatewayClient:
    """Asks greedily, a few prompts at a time; every prompt has an answer or the reason why it has none."""

    def __init__(
        self,
        url: str,
        *,
        model: str | None,
        api_key: str | None,
        max_new_tokens: int,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        """
        Args:
            model: the base's name; None: the gateway says it.
            api_key: the engine's, which the gateway passes on.
        """
        self._url = httpx.URL(url)
        self._model = model
        self._max_new_tokens = max_new_tokens
        self._timeout_seconds = timeout_seconds
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._client = httpx.Client(headers=headers, timeout=timeout_seconds, trust_env=False)
        self._pool = ThreadPoolExecutor(CONCURRENT, thread_name_prefix="parity")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()
        self._client.close()

    def ask(self, prompts: Sequence[Prompt]) -> list[GatewayAnswer | NotMeasured]:
        """The gateway's answers, in the order of `prompts`; raises nothing."""
        return list(self._pool.map(self._answer_to, prompts))

    def _answer_to(self, prompt: Prompt) -> GatewayAnswer | NotMeasured:
        try:
            status, headers, reply = self._request(
                "POST", path_for(prompt), {**self._fields(), **prompt_form(prompt)}
            )
            return _answer(status, headers, reply, is_chat=isinstance(prompt, Conversation))
        except httpx.HTTPError as error:
            return NotMeasured(f"the gateway does not answer: {type(error).__name__}")
        except _Unreadable as error:
            return NotMeasured(str(error))

    def _fields(self) -> dict[str, Any]:
        if self._model is None:
            self._model = self._served_model()
        return {"model": self._model, "temperature": 0, "max_tokens": self._max_new_tokens}

    def _served_model(self) -> str:
        status, _, reply = self._request("GET", MODELS)
        try:
            return served_base(reply)
        except ValueError as error:
            raise _Unreadable(f"the gateway does not list its models ({status})") from error

    def _request(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> tuple[int, httpx.Headers, Any]:
        deadline = time.monotonic() + self._timeout_seconds
        pieces, size = [], 0
        with self._client.stream(method, self._url.join(path), json=body) as reply:
            for piece in reply.iter_bytes():
                size += len(piece)
                if size > MAX_REPLY_BYTES or time.monotonic() > deadline:
                    raise _Unreadable("the gateway's answer is too large, or too slow")
                pieces.append(piece)
        try:
            return reply.status_code, reply.headers, json.loads(b"".join(pieces))
        except (ValueError, RecursionError):
            return reply.status_code, reply.headers, None


def _answer(status: int, headers: httpx.Headers, reply: Any, *, is_chat: bool) -> GatewayAnswer | NotMeasured:
    """What a reply says of the question."""
    generation = _generation(headers)
    if status == 200:
        if generation is None:
            return NotMeasured("what answers at gateway.url is no gateway: it names no generation")
        if headers.get(ADAPTER_HEADER) == "failed":
            return GatewayAnswer("", None, generation, refused=_NO_ADAPTER)
        text = _text(reply, is_chat=is_chat)
        edit_id = headers.get(EDIT_HEADER)  # absent: the base answered
        return GatewayAnswer(text, None if edit_id is None else edit_id[:MAX_ID_CHARS], generation)
    if _error_code(reply) == ADAPTER_UNAVAILABLE:
        return GatewayAnswer("", None, generation, refused=_NO_ADAPTER)
    if status in _NOT_ITS_FAULT or status >= 500:
        return NotMeasured(f"the gateway answers {status}")
    return GatewayAnswer("", None, generation, refused=f"status {status}")


def _generation(headers: httpx.Headers) -> int | None:
    try:
        return int(headers[GENERATION_HEADER])
    except (KeyError, ValueError):
        return None


def _text(reply: Any, *, is_chat: bool) -> str:
    try:
        choice = reply["choices"][0]
        text = choice["message"]["content"] if is_chat else choice["text"]
    except (KeyError, IndexError, TypeError) as error:
        raise _Unreadable("the gateway's answer has no text") from error
    # As in process: a plain prompt's answer is one line (editors.base.endings).
    return str(text or "").strip() if is_chat else str(text or "").split("\n", 1)[0].strip()


def _error_code(reply: Any) -> str | None:
    error = reply.get("error") if isinstance(reply, dict) else None
    return str(error.get("code")) if isinstance(error, dict) else None
