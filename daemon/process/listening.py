"""The sockets that roles answer on, and the threads that answer there."""

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import uvicorn
from starlette.types import ASGIApp

from edits.errors import TemporaryError

SHUTDOWN_SECONDS = 10  # for the requests in hand


def listen(host: str, port: int, *, settings: str) -> socket.socket:
    """A socket that is bound already: a port that is taken is reported at once, and may be free again soon.

    Args:
        settings: what to set where it is not to be had.

    Raises:
        TemporaryError: it is not to be had at this moment.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        raise TemporaryError(f"cannot listen on {host}:{port} ({error.strerror}): set {settings}") from error
    # asyncio does this itself only for sockets that name their protocol, which this one does not; without it a
    # response in two writes may wait for the client's delayed acknowledgement, 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def free_port(wish: int | None = None) -> int:
    """A port of loopback on which nobody listens at this moment: the wished one if it is free."""
    if wish is not None:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", wish)):
            return wish
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def answering(apps: Sequence[tuple[ASGIApp, str, int]], *, settings: str) -> Iterator[list[threading.Thread]]:
    """While the block runs, each application answers on its host and port, in a thread of its own.

    Args:
        settings: what to set where a port is not to be had.

    Raises:
        TemporaryError: a port is not to be had at this moment.
    """
    with ExitStack() as stack:
        # All are bound before anything heavy is loaded.
        bound = [
            (app, stack.enter_context(listen(host, port, settings=settings))) for app, host, port in apps
        ]
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


def _server(app: ASGIApp) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,  # what configure_logging set up stays
            access_log=False,  # the metrics count requests; prompts are nobody's business
            proxy_headers=False,  # who is at the other end decides whether a proxy is believed: no header says it
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            lifespan="off",
        )
    )
