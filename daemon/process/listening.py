"""The sockets that roles answer on."""

import contextlib
import socket

from edits.errors import TemporaryError


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
