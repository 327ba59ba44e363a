"""The HTTP interface put together: its endpoints, what stands in front of them, and how errors look.

Every error is one JSON object {"error": {"message": ..., "type": ..., "param": ..., "code": ...}}; a request is never
repeated in it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from daemon.console.app import console_routes
from daemon.openai_api.errors import ApiError, api_error, invalid_request
from daemon.openai_api.provenance import EDIT_HEADER, GENERATION_HEADER
from daemon.openai_api.request_ids import HEADER, RequestIdMiddleware
from daemon.serving.head_watch import Head
from daemon.serving.http import completions_api
from daemon.serving.http.api_keys import ApiKeyMiddleware
from daemon.serving.http.completions_api import add_completions
from daemon.serving.http.generate_api import add_generate
from daemon.serving.http.health_api import add_generation, add_health
from daemon.serving.http.limits import Limits
from daemon.serving.http.reference_page import add_reference
from daemon.serving.http.request_limits import RequestLimitsMiddleware
from daemon.serving.http.trace_api import add_trace
from daemon.serving.model_executor import ModelExecutor
from edits.errors import BadRequest, PermanentError, TemporaryError
from monitoring.metrics.process_metrics import Metrics

__all__ = ["Access", "Head", "Limits", "create_app", "create_health_app"]

TITLE = "Upkeep"
CLIENT_GONE = 499  # nobody reads it; the metrics do

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Access:
    """Who may ask.

    Attributes:
        key_hashes: SHA-256 of the API keys, in hex; none: no key is asked for.
        cors_origins: pages that browsers may ask from.
    """

    key_hashes: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()


def create_app(
    *,
    executor: ModelExecutor,
    read_head: Callable[[], Head | None],
    limits: Limits,
    metrics: Metrics,
    exposed: CollectorRegistry,
    model_name: str,
    access: Access | None = None,
    with_health: bool = True,
    console: ASGIApp | None = None,
) -> FastAPI:
    """The application around a model executor.

    Args:
        read_head: what the ledger said last, at once; raises TemporaryError if that is too long ago.
        with_health: health and metrics are here, too; else `create_health_app` has them, on a port of its own.
        console: the pages under `/console`; it guards itself.
    """
    app = FastAPI(
        title=TITLE,
        version="1",
        summary="A language model whose facts are kept current.",
        docs_url=None,  # FastAPI's own page comes from somebody else's server
        redoc_url=None,
    )
    _answer_errors(app)
    add_completions(app, executor=executor, limits=limits, model_name=model_name)
    add_generate(app, executor=executor, limits=limits)
    add_trace(app, executor=executor, limits=limits)
    add_generation(app, executor=executor, read_head=read_head)
    if with_health:
        add_health(app, executor=executor, read_head=read_head, metrics=metrics, exposed=exposed)
    add_reference(app)
    if console is not None:
        app.router.routes.extend(console_routes(console))
    _add_middleware(app, limits, metrics, access or Access())
    return app


def create_health_app(
    *,
    executor: ModelExecutor,
    read_head: Callable[[], Head | None],
    metrics: Metrics,
    exposed: CollectorRegistry,
) -> FastAPI:
    """Health and metrics alone, for a port that only the operator's machines reach."""
    app = FastAPI(title=f"{TITLE}: health and metrics", version="1", docs_url=None, redoc_url=None)
    _answer_errors(app)
    add_health(app, executor=executor, read_head=read_head, metrics=metrics, exposed=exposed)
    return app


def _add_middleware(app: FastAPI, limits: Limits, metrics: Metrics, access: Access) -> None:
    """From the innermost to the outermost."""
    app.add_middleware(RequestLimitsMiddleware, max_body_bytes=limits.max_body_bytes, metrics=metrics)
    if access.key_hashes:
        app.add_middleware(ApiKeyMiddleware, key_hashes=access.key_hashes, metrics=metrics)
    if access.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=access.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=[HEADER, EDIT_HEADER, GENERATION_HEADER, "Retry-After"],
        )
    app.add_middleware(RequestIdMiddleware)


def _unreadable_status(request: Request) -> int:
    """OpenAI says 400 to what it cannot read, Upkeep's own endpoints 422."""
    return 400 if request.url.path.startswith(completions_api.PATHS) else 422


def _answer_errors(app: FastAPI) -> None:
    @app.exception_handler(TemporaryError)
    async def busy(_request: Request, error: TemporaryError) -> JSONResponse:
        return api_error(error).response()

    @app.exception_handler(BadRequest)
    async def unreadable(request: Request, error: BadRequest) -> JSONResponse:
        return api_error(error, bad_request_status=_unreadable_status(request)).response()

    @app.exception_handler(PermanentError)
    async def broken(_request: Request, error: PermanentError) -> JSONResponse:
        _log.error("request failed", reason=str(error))
        return api_error(error).response()

    @app.exception_handler(StarletteHTTPException)
    async def refused(_request: Request, error: StarletteHTTPException) -> JSONResponse:
        return ApiError(error.status_code, str(error.detail), headers=error.headers or {}).response()

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        return invalid_request(error.errors(), status=_unreadable_status(request)).response()

    @app.exception_handler(ClientDisconnect)
    async def gone(_request: Request, _error: ClientDisconnect) -> Response:
        return Response(status_code=CLIENT_GONE)

    @app.exception_handler(Exception)
    async def failed(_request: Request, error: Exception) -> JSONResponse:
        return api_error(error).response()  # starlette raises it again, and uvicorn logs it
