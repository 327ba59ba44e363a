"""The console alone: no model is loaded, so it opens where none is and stays when a server is away."""

import threading

import structlog
from starlette.applications import Starlette
from starlette.responses import JSONResponse, RedirectResponse
from starlette.routing import Route

from daemon.console.app import console_routes, create_console
from daemon.console.sources.asking import ServerAsker
from daemon.console.web.visits import ROOT
from daemon.ledger import open_ledger
from daemon.process.listening import answering
from daemon.settings.complaints import BadSettings
from daemon.settings.http_tables import is_loopback
from daemon.settings.settings import Settings

POLL_SECONDS = 0.5

_log = structlog.get_logger()


def run(settings: Settings, stop: threading.Event) -> None:
    """Answer on console.host and console.port until `stop` is set.

    Raises:
        BadSettings: it would listen beyond this machine, and nobody could sign in.
        TemporaryError: the ledger or the port is not to be had at this moment.
    """
    console = settings.console
    if not (is_loopback(console.host) or settings.serve.key_roles or console.user_header):
        raise BadSettings(
            'console.host is open to other machines, but nobody could sign in: put "operate:HASH" into '
            "serve.api_keys, or set console.user_header and console.proxy_addresses"
        )
    with open_ledger(settings.ledger.url) as ledger:
        ledger.migrate()
        key = console.server_key
        asker = ServerAsker(
            console.server or f"http://127.0.0.1:{settings.serve.port}",
            api_key=None if key is None else key.get_secret_value(),
        )
        app = create_console(settings, ledger, host=console.host, asker=asker)
        alone = Starlette(
            routes=[
                Route("/", lambda _: RedirectResponse(f"{ROOT}/")),
                Route("/healthz", lambda _: JSONResponse({"status": "alive"})),
                *console_routes(app),
            ]
        )
        with answering(
            [(alone, console.host, console.port)], settings="console.host and console.port"
        ) as threads:
            _log.info("console", address=f"http://{console.host}:{console.port}{ROOT}/")
            while not stop.wait(POLL_SECONDS) and all(thread.is_alive() for thread in threads):
                pass
