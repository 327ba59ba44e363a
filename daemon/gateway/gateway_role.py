"""The gateway's role: joins index, loader and proxy, and follows the ledger's head."""

import asyncio
import os
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import PurePosixPath

import structlog
import uvicorn
from prometheus_client import CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from daemon.checks.ledger_metrics import ledger_collector
from daemon.console.app import console_routes, create_console
from daemon.gateway.adapters import AdapterLoader
from daemon.gateway.console_asker import GatewayAsker
from daemon.gateway.edits import AdapterRef, GatewayEdits
from daemon.gateway.http.proxy import Proxy, ProxyLimits
from daemon.gateway.routing import RequestRouter
from daemon.gateway.token_text import TokenText
from daemon.gateway.vllm import VllmEngine
from daemon.ledger import Ledger, open_ledger
from daemon.ledger.errors import BaseChanged
from daemon.process.listening import listen
from daemon.process.outage import Outage
from daemon.process.telemetry import MULTIPROC_VARIABLE
from daemon.settings.complaints import BadSettings
from daemon.settings.http_tables import GatewaySettings
from daemon.settings.settings import Settings
from editors.index import load_matcher
from editors.inference.export import ExportTarget, export_target
from editors.store.adapter_store import AdapterStore
from edits.errors import PermanentError, TemporaryError, UpkeepError
from monitoring.metrics.process_metrics import Metrics, exposed_registry

FOLLOW_SECONDS = 1.0  # how old the news of a published generation may be
SWEEP_SECONDS = 600.0  # how often adapters' folders are touched and looked through

_log = structlog.get_logger()


def run(
    settings: Settings,
    stop: threading.Event,
    *,
    follow_seconds: float = FOLLOW_SECONDS,
    sweep_seconds: float = SWEEP_SECONDS,
) -> None:
    """Stand in front of the engine until `stop` is set; requests in hand are finished first.

    Raises:
        PermanentError: the base's folder, the encoder or the ledger cannot be used at all.
        TemporaryError: the ledger or a port is not to be had at this moment.
    """
    path = settings.model.required_path()
    if not settings.index.encoder:
        raise BadSettings("index.encoder is empty, but the gateway routes by text alone: name an encoder")
    target = export_target(path, ffn_module=settings.model.ffn_module)
    with open_ledger(settings.ledger.url) as ledger:
        ledger.migrate()
        tip = ledger.generations.tip()
        if tip is not None and not target.known_as.is_of(tip[1]):
            raise BaseChanged(
                f"this ledger belongs to the base {tip[1][:16]}, model.path is {target.base_hash[:16]}"
            )
        asyncio.run(_Gateway(settings, ledger, target, stop, follow_seconds, sweep_seconds).run())


class _Gateway:
    """The parts of one gateway, and the tasks that run them."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        target: ExportTarget,
        stop: threading.Event,
        follow_seconds: float,
        sweep_seconds: float,
    ) -> None:
        gateway = settings.gateway
        self._settings = gateway
        self._metrics_host = settings.metrics.host
        self._stop = stop
        self._follow_seconds = follow_seconds
        self._sweep_seconds = sweep_seconds
        registry = CollectorRegistry()
        metrics = Metrics(registry)
        self._exposed = exposed_registry(registry, multiproc_dir=os.environ.get(MULTIPROC_VARIABLE))
        # Where a gateway serves there need be no `upkeep serve` that tells of the ledger.
        self._exposed.register(ledger_collector(settings, ledger))
        tokens = TokenText(settings.model.required_path(), chat=settings.model.chat)
        self._router = _router(settings, ledger, target, tokens, metrics)
        self._engine = _engine(gateway)
        self._loader = AdapterLoader(
            self._engine,
            materialise=self._router.materialise,
            engine_folder=PurePosixPath(gateway.engine_adapters or gateway.adapters.resolve()),
            capacity=gateway.max_adapters,
            metrics=metrics,
        )
        self._proxy = Proxy(
            engine=self._engine,
            router=self._router,
            loader=self._loader,
            tokens=tokens,
            limits=ProxyLimits(gateway.max_body_bytes, gateway.max_concurrent, gateway.on_failure),
            metrics=metrics,
            model_name=gateway.model_name,
        )
        self._console = _console(settings, ledger)
        self._ready = False
        self._swept_at = time.monotonic()
        self._outage = Outage("the published generation", "the last one that is known goes on deciding")

    async def run(self) -> None:
        """Serve until told to stop."""
        settings_named = "gateway.port and gateway.metrics_port"
        own = listen(self._settings.host, self._settings.port, settings=settings_named)
        health = listen(self._metrics_host, self._settings.metrics_port, settings=settings_named)
        servers = [
            _server(self._proxy.app(self._console), self._settings.drain_seconds),
            _server(self._health_app(), 1),
        ]
        try:
            async with _serving(servers, [own, health]):
                _log.info("gateway", address=f"http://{self._settings.host}:{self._settings.port}")
                while not self._stop.is_set() and not any(server.should_exit for server in servers):
                    await self._follow()
                    await self._sweep_if_due()
                    await asyncio.to_thread(self._stop.wait, self._follow_seconds)
        finally:
            await self._engine.close()
            self._router.close()

    async def _follow(self) -> None:
        """Take over a newer generation; if that fails, the one that is known goes on deciding, and says so."""
        try:
            refs = await asyncio.to_thread(self._router.follow)
        except UpkeepError as error:
            self._router.set_stale(True)
            self._outage.failed(error)
            return
        self._outage.ended()
        self._router.set_stale(False)
        if not self._ready:
            await self._adopt()
        self._ready = True
        if refs is not None:
            _log.info("generation taken over", generation=self._router.generation)
            await self._prefetch(refs)

    async def _sweep_if_due(self) -> None:
        """Remove adapters' folders that nobody needs: by a head that is known, and beside an engine that answers."""
        if time.monotonic() - self._swept_at < self._sweep_seconds:
            return
        self._swept_at = time.monotonic()
        await self._router.adopt_forms()
        await self._router.touch(self._loader.in_use)
        if not self._ready or self._router.stale:
            return
        try:
            loaded = (await self._engine.models()).adapters
        except TemporaryError:
            return
        in_use = loaded | self._loader.in_use
        await self._router.sweep(in_use, for_seconds=self._settings.sweep_after_seconds)

    async def _adopt(self) -> None:
        """What a gateway before this one has loaded counts towards the engine's room."""
        try:
            await self._loader.adopt()
        except TemporaryError as error:
            _log.warning("engine_away", reason=str(error))

    async def _prefetch(self, refs: list[AdapterRef]) -> None:
        """Load what is new in front of need, where it is little: the urgent lane's."""
        if len(refs) > min(self._settings.prefetch, self._settings.max_adapters):
            return
        for ref in refs:
            try:
                await self._loader.ensure(ref)
            except (TemporaryError, PermanentError) as error:
                _log.warning("adapter_not_prefetched", adapter=ref.name, reason=str(error))
                return

    def _health_app(self) -> Starlette:
        async def healthz(_: Request) -> Response:
            return JSONResponse({"status": "alive"})

        async def readyz(_: Request) -> Response:
            try:
                await self._engine.models()
            except TemporaryError as error:
                return JSONResponse({"status": "engine away", "reason": str(error)}, 503)
            body = {"generation": self._router.generation, "stale": self._router.stale}
            return JSONResponse(
                {"status": "ready" if self._ready else "starting", **body}, 200 if self._ready else 503
            )

        async def metrics(_: Request) -> Response:
            text = await asyncio.to_thread(generate_latest, self._exposed)  # which reads the ledger
            return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

        return Starlette(
            routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]
        )


def _router(
    settings: Settings, ledger: Ledger, target: ExportTarget, tokens: TokenText, metrics: Metrics
) -> RequestRouter:
    matcher = load_matcher(settings.index.encoder, heads=settings.store.path / "heads")
    return RequestRouter(
        GatewayEdits(AdapterStore(settings.store.path), matcher, base_hash=target.known_as),
        ledger,
        target=target,
        folder=settings.gateway.adapters,
        conversation=tokens.conversation,
        metrics=metrics,
    )


def _engine(gateway: GatewaySettings) -> VllmEngine:
    key = gateway.engine_api_key
    return VllmEngine(
        gateway.engine,
        max_connections=gateway.max_concurrent,
        connect_seconds=gateway.connect_seconds,
        read_seconds=gateway.read_seconds,
        api_key=None if key is None else key.get_secret_value(),
    )


def _console(settings: Settings, ledger: Ledger) -> list[BaseRoute]:
    """The console's pages, where the settings want them at the gateway's port."""
    if not settings.console.enabled:
        return []
    host, asker = settings.gateway.host, GatewayAsker(settings)
    return console_routes(create_console(settings, ledger, host=host, asker=asker))


@asynccontextmanager
async def _serving(servers: list[uvicorn.Server], listeners: list[socket.socket]) -> AsyncIterator[None]:
    tasks = [
        asyncio.create_task(server._serve(sockets=[listener]))  # `serve` would take over the signals
        for server, listener in zip(servers, listeners, strict=True)
    ]
    try:
        yield
    finally:
        for server in servers:
            server.should_exit = True
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks)
        for listener in listeners:
            listener.close()


def _server(app: Starlette, drain_seconds: int) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,  # what configure_logging set up stays
            access_log=False,  # prompts are nobody's business
            proxy_headers=False,  # who is at the other end decides whether the console believes a proxy
            timeout_graceful_shutdown=drain_seconds,
            lifespan="off",
            server_header=False,
            date_header=False,  # the engine's own pass through
        )
    )
