"""The serving role: joins model, ledger and HTTP interface, and follows the ledger's head."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from daemon.checks.ledger_metrics import ledger_collector
from daemon.console.app import create_console
from daemon.ledger import Ledger, open_ledger
from daemon.process.listening import answering
from daemon.process.outage import Outage
from daemon.process.telemetry import MULTIPROC_VARIABLE
from daemon.serving.console_asker import ExecutorAsker
from daemon.serving.head_watch import HeadWatch
from daemon.serving.http.api import Access, Limits, create_app, create_health_app
from daemon.serving.model_executor import ModelExecutor, ServableModel
from daemon.settings.settings import Settings
from edits.errors import PermanentError, TemporaryError
from monitoring.metrics.process_metrics import Metrics, exposed_registry

FOLLOW_SECONDS = 1.0  # how old the news of a published generation may be
WATCH_SECONDS = 2.0  # how long health and metrics wait for the ledger

_log = structlog.get_logger()


def _open_model(settings: Settings, ledger: Ledger) -> ServableModel:
    from daemon.served_model import open_model  # loads torch

    return open_model(settings, ledger)


def run(
    settings: Settings,
    stop: threading.Event,
    *,
    open_model: Callable[[Settings, Ledger], ServableModel] = _open_model,
    follow_seconds: float = FOLLOW_SECONDS,
) -> None:
    """Serve until `stop` is set; `/readyz` answers 503 until the model is loaded.

    Raises:
        PermanentError: the model or the ledger cannot be used at all.
        TemporaryError: the ledger or the port is not to be had at this moment.
    """
    settings.model.required_path()
    url = settings.ledger.url
    with open_ledger(url) as ledger, open_ledger(url, answer_seconds=WATCH_SECONDS) as watched:
        ledger.migrate()
        _serve(settings, ledger, watched, open_model, stop, follow_seconds)


def _serve(
    settings: Settings,
    ledger: Ledger,
    watched: Ledger,
    open_model: Callable[[Settings, Ledger], ServableModel],
    stop: threading.Event,
    follow_seconds: float,
) -> None:
    executor = ModelExecutor(max_waiting=settings.serve.max_waiting)
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    watch, outage = (
        HeadWatch(watched),
        Outage("the ledger", "the generation that is loaded goes on answering"),
    )
    try:
        apps = _apps(settings, ledger, watched, watch, executor, registry, metrics)
        with answering(apps, settings="serve.host and serve.port") as servers:
            _log.info("serving", address=f"http://{settings.serve.host}:{settings.serve.port}")
            executor.load(lambda: open_model(settings, ledger))
            _log.info("model loaded", generation=executor.generation)
            while all(server.is_alive() for server in servers):
                follow_head(executor, watch, outage)
                metrics.unserved_edits.set(executor.unserved)
                if stop.wait(follow_seconds):
                    break
    finally:
        executor.close()


def follow_head(executor: ModelExecutor, watch: HeadWatch, outage: Outage) -> None:
    """Take over a newer generation; if that fails, the one that is loaded goes on answering."""
    try:
        watch.poll()
        if executor.refresh():
            _log.info("generation taken over", generation=executor.generation)
        outage.ended()
    except TemporaryError as error:
        outage.failed(error)
    except PermanentError as error:
        _log.error("cannot take over the published generation", reason=str(error))


def _apps(
    settings: Settings,
    ledger: Ledger,
    watched: Ledger,
    watch: HeadWatch,
    executor: ModelExecutor,
    registry: CollectorRegistry,
    metrics: Metrics,
) -> list[tuple[ASGIApp, str, int]]:
    """The applications with the hosts and ports that they are to answer on."""
    serve = settings.serve
    exposed = exposed_registry(registry, multiproc_dir=os.environ.get(MULTIPROC_VARIABLE))
    # A ledger that is known to be away is not waited for.
    exposed.register(ledger_collector(settings, watched, require=watch.head))
    app = create_app(
        executor=executor,
        read_head=watch.head,
        limits=_limits(settings),
        metrics=metrics,
        exposed=exposed,
        model_name=model_name(settings),
        access=Access(serve.key_hashes, serve.cors_origins),
        with_health=serve.metrics_port is None,
        console=_console(settings, ledger, executor),
    )
    if serve.metrics_port is None:
        return [(app, serve.host, serve.port)]
    health = create_health_app(executor=executor, read_head=watch.head, metrics=metrics, exposed=exposed)
    return [(app, serve.host, serve.port), (health, settings.metrics.host, serve.metrics_port)]


def _console(settings: Settings, ledger: Ledger, executor: ModelExecutor) -> ASGIApp | None:
    if not settings.console.enabled:
        return None
    asker = ExecutorAsker(executor, max_new_tokens=settings.model.max_new_tokens)
    return create_console(settings, ledger, host=settings.serve.host, asker=asker)


def _limits(settings: Settings) -> Limits:
    return Limits(
        max_batch=settings.serve.max_batch,
        max_prompt_chars=settings.serve.max_prompt_chars,
        max_new_tokens=settings.model.max_new_tokens,
        max_completion_tokens=settings.serve.max_completion_tokens,
        default_temperature=settings.serve.default_temperature,
    )


def model_name(settings: Settings) -> str:
    """The name under which OpenAI clients ask: of a folder no more than its own, where it lies is nobody's business."""
    path = settings.model.required_path()
    return settings.serve.model_name or (Path(path).name if Path(path).is_absolute() else path)
