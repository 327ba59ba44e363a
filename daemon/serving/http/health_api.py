"""Health, the generation that answers, and Prometheus metrics: on the API's own port, or on one beside it."""

from collections.abc import Callable

from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import BaseModel

from daemon.serving.head_watch import Head
from daemon.serving.http.generate_api import ERRORS
from daemon.serving.model_executor import ModelExecutor
from monitoring.metrics.process_metrics import Metrics


class Alive(BaseModel):
    """The process is alive."""

    status: str


class Ready(BaseModel):
    """The model answers, with this generation."""

    status: str
    generation: str


class GenerationOut(BaseModel):
    """The generation that answers, and the newest that is published (`head` and what follows; null: none is)."""

    generation: int
    head: int | None
    base_hash: str | None
    published_at: str | None
    cause: str | None


def add_health(
    app: FastAPI,
    *,
    executor: ModelExecutor,
    read_head: Callable[[], Head | None],
    metrics: Metrics,
    exposed: CollectorRegistry,
) -> None:
    """Add liveness, readiness and metrics to an application; `read_head` answers at once."""

    @app.get("/healthz")
    async def healthz() -> Alive:
        """The process is alive."""
        return Alive(status="alive")

    @app.get("/readyz", responses=ERRORS)
    async def readyz() -> Ready:
        """The model is loaded and the ledger answers; else 503 with the reason."""
        read_head()
        return Ready(status="ready", generation=str(executor.generation))

    @app.get(
        "/metrics",
        response_model=None,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    def prometheus() -> Response:
        """Prometheus metrics: of all roles under `upkeep run`, else of this process."""
        metrics.load(executor.rows, executor.waiting)
        return Response(generate_latest(exposed), media_type=CONTENT_TYPE_LATEST)


def add_generation(app: FastAPI, *, executor: ModelExecutor, read_head: Callable[[], Head | None]) -> None:
    """Add `/v1/generation` to an application."""

    @app.get("/v1/generation", responses=ERRORS)
    async def generation() -> GenerationOut:
        """The generation that answers, and the newest one that is published."""
        served = executor.generation
        head = read_head()
        return GenerationOut(
            generation=served,
            head=None if head is None else head.number,
            base_hash=None if head is None else head.base_hash,
            published_at=None if head is None else head.created_at,
            cause=None if head is None else head.cause,
        )
