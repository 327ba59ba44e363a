"""The serving role: joins model, ledger and HTTP interface, and follows the ledger's head."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import structlog
import uvicorn
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from daemon.checks.ledger_metrics import ledger_collector
from daemon.ledger import Ledger, open_ledger
from daemon.process.listening import listen
from daemon.process.outage import Outage
from daemon.process.settings import Settings
from daemon.process.telemetry import MULTIPROC_VARIABLE
from daemon.serving.api import Access, Limits, create_app, create_health_app
from daemon.serving.head_watch import HeadWatch
from daemon.serving.model_executor import ModelExecutor, ServableModel
from edits.errors import PermanentError, TemporaryError
from monitoring.metrics import Metrics, exposed_registry

FOLLOW_SECONDS = 1.0  # how old the news of a published generation may be
WATCH_SECONDS = 2.0  # how long health and metrics wait for the ledger
SHUTDOWN_SECONDS = 10  # for the requests in hand

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
        with _listening(_apps(settings, watched, watch, executor, registry, metrics)) as servers:
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


@contextmanager
def _listening(apps: Sequence[tuple[FastAPI, str, int]]) -> Iterator[list[threading.Thread]]:
    """While the block runs, each application answers on its host and port, in a thread of its own.

    Raises:
        TemporaryError: a port is not to be had at this moment.
    """
    with ExitStack() as stack:
        # All are bound before the model is loaded.
        told = "serve.host and serve.port"
        bound = [(app, stack.enter_context(listen(host, port, settings=told))) for app, host, port in apps]
        servers = [(_server(app), listener) for app, listener in bound]
        threads = [
            threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="http")
            for server, listener in servers
        ]
        for thread in threads:
            thread.start()
        try:
            yield threads
        finally:
            for server, _ in servers:
                server.should_exit = True
            for thread in threads:
                thread.join()


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
    watch: HeadWatch,
    executor: ModelExecutor,
    registry: CollectorRegistry,
    metrics: Metrics,
) -> list[tuple[FastAPI, str, int]]:
    """The applications with the hosts and ports that they are to answer on."""
    serve = settings.serve
    exposed = exposed_registry(registry, multiproc_dir=os.environ.get(MULTIPROC_VARIABLE))
    # A ledger that is known to be away is not waited for.
    exposed.register(ledger_collector(settings, ledger, require=watch.head))
    app = create_app(
        executor=executor,
        read_head=watch.head,
        limits=_limits(settings),
        metrics=metrics,
        exposed=exposed,
        model_name=model_name(settings),
        access=Access(serve.key_hashes, serve.cors_origins),
        with_health=serve.metrics_port is None,
    )
    if serve.metrics_port is None:
        return [(app, serve.host, serve.port)]
    health = create_health_app(executor=executor, read_head=watch.head, metrics=metrics, exposed=exposed)
    return [(app, serve.host, serve.port), (health, settings.metrics.host, serve.metrics_port)]


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


def _server(app: FastAPI) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,  # what configure_logging set up stays
            access_log=False,  # the metrics count requests; prompts are nobody's business
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            lifespan="off",
        )
    )
