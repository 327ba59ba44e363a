"""The serving role: joins model, ledger and HTTP interface, and follows the ledger's head."""

import os
import socket
import threading
from collections.abc import Callable

import structlog
import uvicorn
from prometheus_client import CollectorRegistry

from daemon.checks.check_suites import OWN_SUITES
from daemon.ledger import Ledger, open_ledger
from daemon.process.settings import Settings
from daemon.process.settings_tables import ServeSettings
from daemon.process.telemetry import MULTIPROC_VARIABLE
from daemon.serving.api import Head, Limits, create_app
from daemon.serving.ledger_figures import ledger_figures
from daemon.serving.model_executor import ModelExecutor, ServableModel
from edits.errors import PermanentError, TemporaryError
from monitoring.collector import LedgerCollector
from monitoring.metrics import Metrics, exposed_registry

FOLLOW_SECONDS = 1.0  # how old the news of a published generation may be
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
    with open_ledger(settings.ledger.url) as ledger:
        ledger.migrate()
        _serve(settings, ledger, open_model, stop, follow_seconds)


def _serve(
    settings: Settings,
    ledger: Ledger,
    open_model: Callable[[Settings, Ledger], ServableModel],
    stop: threading.Event,
    follow_seconds: float,
) -> None:
    executor = ModelExecutor()
    server = _server(settings, ledger, executor)
    listener = _listen(settings.serve)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="http")
    thread.start()
    try:
        _log.info("serving", address=f"http://{settings.serve.host}:{settings.serve.port}")
        executor.load(lambda: open_model(settings, ledger))
        _log.info("model loaded", generation=executor.generation)
        while not stop.wait(follow_seconds) and thread.is_alive():
            follow_head(executor)
    finally:
        server.should_exit = True
        thread.join()
        executor.close()
        listener.close()


def follow_head(executor: ModelExecutor) -> None:
    """Take over a newer generation; if that fails, the one that is loaded goes on answering."""
    try:
        if executor.refresh():
            _log.info("generation taken over", generation=executor.generation)
    except TemporaryError as error:
        _log.warning("cannot follow the ledger for now", reason=str(error))
    except PermanentError as error:
        _log.error("cannot take over the published generation", reason=str(error))


def _server(settings: Settings, ledger: Ledger, executor: ModelExecutor) -> uvicorn.Server:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    exposed = exposed_registry(registry, multiproc_dir=os.environ.get(MULTIPROC_VARIABLE))
    suites = (*OWN_SUITES, *settings.monitoring.suites)
    exposed.register(
        LedgerCollector(
            lambda: ledger_figures(ledger, suites=suites),
            check_interval_seconds=settings.schedule.check_seconds,
        )
    )
    app = create_app(
        executor=executor,
        read_head=lambda: _head(ledger),
        limits=Limits(
            max_batch=settings.serve.max_batch,
            max_prompt_chars=settings.serve.max_prompt_chars,
            max_new_tokens=settings.model.max_new_tokens,
        ),
        metrics=metrics,
        exposed=exposed,
        model_name=settings.model.required_path(),
    )
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,  # what configure_logging set up stays
            access_log=False,  # the metrics count requests; prompts are nobody's business
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            lifespan="off",
        )
    )


def _head(ledger: Ledger) -> Head | None:
    head = ledger.generations.head()
    if head is None:
        return None
    return Head(head.number, head.base_hash, head.created_at.isoformat(), head.cause)


def _listen(serve: ServeSettings) -> socket.socket:
    """Bind before the model is loaded: a taken port is reported at once, and may be free again soon."""
    family = socket.AF_INET6 if ":" in serve.host else socket.AF_INET
    try:
        listener = socket.create_server((serve.host, serve.port), family=family, backlog=256)
    except OSError as error:
        raise TemporaryError(
            f"cannot listen on {serve.host}:{serve.port} ({error.strerror}): set serve.host and serve.port"
        ) from error
    # asyncio does this itself only for sockets that name their protocol, which this one does not; without it a
    # response in two writes may wait for the client's delayed acknowledgement, 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
