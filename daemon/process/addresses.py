"""Where a client on this machine finds a role that listens."""

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- these are what is replaced


def reachable(host: str) -> str:
    """The host to connect to where a role listens on `host`: loopback, where that means everywhere."""
    return _EVERYWHERE.get(host, host)


def http_address(host: str, port: int) -> str:
    """The URL of a role that listens there."""
    host = reachable(host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
