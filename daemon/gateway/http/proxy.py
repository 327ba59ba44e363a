"""The gateway's HTTP interface: what is asked of the base goes to the adapter that its prompt needs, all else passes."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote

import httpx
import structlog
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from daemon.gateway.adapters import AdapterLoader
from daemon.gateway.edits import PREFIX, AdapterRef
from daemon.gateway.engine import Engine, EngineAway, EngineRequest
from daemon.gateway.http.bodies import CHAT, COMPLETIONS, RequestFields, read_request
from daemon.gateway.http.joining import EngineReplyUnreadable, join_completions
from daemon.gateway.http.relaying import (
    holding,
    incoming_headers,
    json_object,
    outgoing_headers,
    target_of,
    whole_body,
)
from daemon.gateway.routing import Decision, RequestRouter
from daemon.gateway.token_text import TokenText
from daemon.openai_api.disconnects import unless_gone
from daemon.openai_api.errors import (
    ADAPTER_UNAVAILABLE,
    ApiError,
    api_error,
    invalid_request,
    model_not_found,
    retry_after,
)
from daemon.openai_api.model_list import PATH as MODELS
from daemon.openai_api.provenance import ADAPTER_HEADER, INDEX_HEADER, provenance_headers
from daemon.openai_api.trace import PATH as TRACE
from daemon.openai_api.trace import TraceRequest, trace_response
from edits.errors import PermanentError, TemporaryError, UpkeepError
from monitoring.metrics.process_metrics import Metrics

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_CLIENT_CLOSED = 499  # nobody sees it

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ProxyLimits:
    """What one gateway takes on, and what it does where an adapter cannot be loaded."""

    max_body_bytes: int
    max_concurrent: int
    on_failure: Literal["base", "error"]
    body_seconds: float = 30.0  # for a whole body to arrive


class Proxy:
    """Decides, loads, forwards. Belongs to one event loop.

    Promises: a request that no edit fires reaches the engine byte for byte, and its answer the client; an answer is of one
    generation, which its headers name.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        router: RequestRouter,
        loader: AdapterLoader,
        tokens: TokenText,
        limits: ProxyLimits,
        metrics: Metrics,
        model_name: str | None,
    ) -> None:
        """
        Args:
            model_name: the base's name at the engine; None: the engine is asked.
        """
        self._engine = engine
        self._router = router
        self._loader = loader
        self._tokens = tokens
        self._limits = limits
        self._metrics = metrics
        self._bases: tuple[str, ...] | None = None if model_name is None else (model_name,)
        self._busy = 0

    def app(self, own: Sequence[BaseRoute] = ()) -> Starlette:
        """The application, which answers every path; `own` are those that the engine is not asked for."""
        return Starlette(routes=[*own, Route("/{path:path}", self.handle, methods=METHODS)])

    async def handle(self, request: Request) -> Response:
        """Answer one request; errors are in OpenAI's form."""
        if self._busy >= self._limits.max_concurrent:
            message = f"the gateway has {self._busy} requests in hand: try again soon"
            return ApiError(503, message, headers=retry_after(1)).response()
        async with AsyncExitStack() as stack:
            self._busy += 1
            stack.callback(self._release)
            try:
                response = await self._answer(request, stack)
            except ClientDisconnect:
                self._metrics.gateway_aborts.labels("client").inc()
                return Response(status_code=_CLIENT_CLOSED)
            except UpkeepError as error:
                return _error_response(error)
            # What the answer holds on to (its adapter, the engine's stream) is let go of when it has been sent.
            return holding(response, stack.pop_all())

    def _release(self) -> None:
        self._busy -= 1

    async def _answer(self, request: Request, stack: AsyncExitStack) -> Response:
        path = request.scope["path"]
        if _is_administration(path):
            return ApiError(403, "adapters are loaded and unloaded by the gateway alone").response()
        body = await self._body(request)
        if request.method == "GET" and path == MODELS:
            return await self._models(request)
        if request.method == "POST" and path == TRACE:
            return await self._traced(body)
        if request.method == "POST" and path in (CHAT, COMPLETIONS):
            return await self._routed(request, path, body, stack)
        return await self._passed(request, body, stack, {})

    async def _body(self, request: Request) -> bytes:
        pieces, size = [], 0
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                async for piece in request.stream():
                    size += len(piece)
                    if size > self._limits.max_body_bytes:
                        raise _BodyTooLarge(f"the request is larger than {self._limits.max_body_bytes} bytes")
                    pieces.append(piece)
        except TimeoutError:
            late = f"the request's body did not arrive within {self._limits.body_seconds:g} seconds"
            raise _BodyTooSlow(late) from None
        return b"".join(pieces)

    async def _traced(self, body: bytes) -> Response:
        """Why an edit fires on a prompt, or none does; the engine is not asked."""
        try:
            asked = TraceRequest.model_validate_json(body)
        except ValidationError as error:
            return invalid_request(error.errors(), status=422).response()
        return JSONResponse(trace_response(*await self._router.explain(asked.asked)).model_dump())

    async def _routed(self, request: Request, path: str, body: bytes, stack: AsyncExitStack) -> Response:
        asked = read_request(path, body, decode=self._tokens.decode)
        if asked is None:
            return await self._passed(request, body, stack, {})
        if asked.model is not None and asked.model.startswith(PREFIX):
            self._metrics.gateway_requests.labels("error").inc()
            raise model_not_found(asked.model, served=await self._base_names() or ("the base",))
        if asked.model is not None and asked.model not in await self._base_names():
            return await self._passed(request, body, stack, {})
        decision = await self._router.decide(asked.prompts)
        try:
            response, outcome = await self._decided(request, asked, body, decision, stack)
        except UpkeepError:
            self._metrics.gateway_requests.labels("error").inc()
            raise
        self._metrics.gateway_requests.labels(outcome).inc()
        return response

    async def _decided(
        self, request: Request, asked: RequestFields, body: bytes, decision: Decision, stack: AsyncExitStack
    ) -> tuple[Response, str]:
        """The answer of a decision, and its outcome: edit, base, error."""
        places: dict[AdapterRef | None, list[int]] = {}
        for place, ref in enumerate(decision.refs):
            places.setdefault(ref, []).append(place)
        if len(places) == 1:
            (ref,) = places
            if ref is None:
                response = await self._passed(request, body, stack, _headers(decision))
                return response, _outcome(response, "base")
            response = await self._with_adapter(request, asked, body, ref, None, stack, decision)
            fired = "base" if ADAPTER_HEADER in response.headers else "edit"
            return response, _outcome(response, fired)
        if asked.stream:
            raise _NotStreamed(
                "these prompts need different edits, which are not streamed in one answer: send them one by one, or "
                "without stream"
            )
        response = await self._joined(request, asked, body, places, decision)
        return response, _outcome(response, "edit")

    async def _joined(
        self,
        request: Request,
        asked: RequestFields,
        body: bytes,
        places: Mapping[AdapterRef | None, list[int]],
        decision: Decision,
    ) -> Response:
        """One answer of a part for each adapter; the first part that fails is the answer."""
        failed: set[AdapterRef] = set()

        async def part(ref: AdapterRef | None, of: list[int]) -> Response | dict[str, Any]:
            async with AsyncExitStack() as stack:
                if ref is None:
                    name = asked.model or (await self._base_names())[0]
                    some = asked.body(model=name, places=of)
                    response: Response = await self._passed(
                        request, some, stack, _headers(decision), plain=True
                    )
                else:
                    response = await self._with_adapter(request, asked, body, ref, of, stack, decision)
                    failed.update([ref] if ADAPTER_HEADER in response.headers else [])
                if response.status_code != 200:
                    return Response(await whole_body(response), response.status_code, response.headers)
                return json_object(await whole_body(response))

        async def all_parts() -> list[Response | dict[str, Any]]:
            return await asyncio.gather(*(part(ref, of) for ref, of in places.items()))

        replies = []
        for of, reply in zip(places.values(), await unless_gone(request, all_parts()), strict=True):
            if isinstance(reply, Response):
                return reply
            replies.append((of, reply))
        model = asked.model or (await self._base_names())[0]
        return JSONResponse(join_completions(replies, model=model), headers=_headers(decision, failed))

    async def _with_adapter(
        self,
        request: Request,
        asked: RequestFields,
        body: bytes,
        ref: AdapterRef,
        places: list[int] | None,
        stack: AsyncExitStack,
        decision: Decision,
    ) -> Response:
        """The answer of an adapter; of the base where it cannot be loaded, if that is wanted."""
        plain, headers = places is not None, _headers(decision)
        try:
            await stack.enter_async_context(self._loader.using(ref))
            changed = asked.body(model=ref.name, places=places)
            response = await self._passed(request, changed, stack, headers, plain=plain)
            if response.status_code != 404:
                return response
            await whole_body(response)
            await self._loader.reload(ref)  # the engine was started anew, or somebody else unloaded it
            return await self._passed(request, changed, stack, headers, plain=plain)
        except EngineAway:
            raise
        except (PermanentError, TemporaryError) as error:
            _log.error("adapter_not_loaded", adapter=ref.name, reason=str(error))
            if self._limits.on_failure == "error":
                raise AdapterUnavailable(
                    f"the adapter of edit {ref.edit_id} cannot be loaded: try later"
                ) from error
        name = asked.model or (await self._base_names())[0]
        unchanged = body if places is None else asked.body(model=name, places=places)
        return await self._passed(request, unchanged, stack, _headers(decision, [ref]), plain=plain)

    async def _passed(
        self,
        request: Request,
        body: bytes,
        stack: AsyncExitStack,
        headers: Mapping[str, str],
        *,
        plain: bool = False,
    ) -> Response:
        """The engine's answer to the request with this body, as it comes.

        Args:
            plain: the answer is read here, not by the client: it must not be compressed.
        """
        outgoing = EngineRequest(
            request.method, target_of(request), outgoing_headers(request, plain=plain), body
        )
        begun = time.perf_counter()
        # Of several parts, the one who waits for all of them watches the client.
        if plain:
            reply = await self._engine.forward(outgoing)
        else:
            reply = await unless_gone(request, self._engine.forward(outgoing))
        self._metrics.gateway_upstream.observe(time.perf_counter() - begun)
        stack.push_async_callback(reply.aclose)
        response = StreamingResponse(self._pieces(reply), reply.status_code)
        response.raw_headers = incoming_headers(reply)
        for name, value in headers.items():
            response.headers[name] = value
        return response

    async def _pieces(self, reply: httpx.Response) -> AsyncIterator[bytes]:
        try:
            async for piece in reply.aiter_raw():
                yield piece
        except (GeneratorExit, asyncio.CancelledError):
            self._metrics.gateway_aborts.labels("client").inc()
            raise
        except httpx.HTTPError as error:
            self._metrics.gateway_aborts.labels("engine").inc()
            raise EngineAway("the engine broke off its answer") from error

    async def _models(self, request: Request) -> Response:
        """The engine's models without our adapters."""
        async with AsyncExitStack() as stack:
            response = await self._passed(request, b"", stack, {}, plain=True)
            body = await whole_body(response)
        if response.status_code != 200:
            return Response(body, response.status_code, response.headers)
        listed = json_object(body)
        cards = [card for card in listed.get("data", []) if not str(card.get("id")).startswith(PREFIX)]
        return JSONResponse({**listed, "data": cards})

    async def _base_names(self) -> tuple[str, ...]:
        if self._bases is None:
            self._bases = (await self._engine.models()).bases or None
        return self._bases or ("",)


class _BodyTooLarge(PermanentError):
    """A request beyond the limit."""


class _BodyTooSlow(PermanentError):
    """A request of which only a part came."""


class _NotStreamed(PermanentError):
    """Prompts of different edits in one stream."""


class AdapterUnavailable(TemporaryError):
    """An edit fires, but its adapter cannot be loaded."""


def _error_response(error: UpkeepError) -> Response:
    if isinstance(error, _BodyTooLarge):
        return ApiError(413, str(error), code="request_too_large").response()
    if isinstance(error, _BodyTooSlow):
        return ApiError(408, str(error), headers={"Connection": "close"}).response()
    if isinstance(error, _NotStreamed):
        return ApiError(400, str(error), param="prompt", code="unsupported_parameter").response()
    if isinstance(error, EngineAway):
        return ApiError(502, str(error), headers=retry_after(error.retry_after_seconds)).response()
    if isinstance(error, EngineReplyUnreadable):
        return ApiError(502, str(error), headers=retry_after(1)).response()
    if isinstance(error, AdapterUnavailable):
        later = retry_after(error.retry_after_seconds)
        return ApiError(503, str(error), code=ADAPTER_UNAVAILABLE, headers=later).response()
    return api_error(error).response()


def _is_administration(path: str) -> bool:
    """Whether a path, however it is written, is one of vLLM's `/v1/(un)load_lora_adapter`."""
    return "lora_adapter" in unquote(path).lower()


def _headers(decision: Decision, failed: Collection[AdapterRef] = ()) -> dict[str, str]:
    """Where an answer comes from; the base answered in the place of the adapters that `failed`."""
    answered = [None if ref is None or ref in failed else ref.edit_id for ref in decision.refs]
    found = provenance_headers(decision.generation, answered)
    found |= {ADAPTER_HEADER: "failed"} if failed else {}
    return found | ({INDEX_HEADER: "stale"} if decision.stale else {})


def _outcome(response: Response, otherwise: str) -> str:
    return "error" if response.status_code >= 500 else otherwise
