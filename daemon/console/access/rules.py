"""Who opens the console, and what they may do: by a key's role, by a proxy that names them, or on loopback without keys."""

import hashlib
import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request

from daemon.console.access.sessions import MAX_NAME_CHARS, Session
from daemon.settings.console_tables import ConsoleSettings
from daemon.settings.http_tables import ConsoleRole, is_loopback
from daemon.settings.settings import Settings
from edits.text import printable

PROXY_SECRET_HEADER = "x-upkeep-proxy-secret"  # noqa: S105  -- the header's name
MAX_KEY_CHARS = 1_024
SHOWN_HASH_CHARS = 8  # enough to tell keys apart, of no use to guess one


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who it is, as the audit log names them, and what they may do."""

    name: str
    role: ConsoleRole

    @property
    def may_operate(self) -> bool:
        """Undo, retry, hold, approve and resubmit."""
        return self.role is ConsoleRole.OPERATE


@dataclass(frozen=True, slots=True)
class AccessRules:
    """Who is let in.

    Attributes:
        keys: SHA-256 of each key in hex, and its role.
        open: there are no keys at all and only this machine reaches the port: whoever is on it may do everything.
    """

    keys: Mapping[str, ConsoleRole]
    open: bool
    proxy: ConsoleSettings

    def identify(self, request: Request, session: Session | None) -> Visitor | None:
        """Who sends a request; None: they must sign in."""
        return (
            self._named_by_proxy(request)
            or self._signed_in(session)
            or (self._on_this_machine(request, session) if self.open else None)
        )

    def key_of(self, presented: str) -> str | None:
        """The hash of a key that opens the console; None of any other."""
        if not presented or len(presented) > MAX_KEY_CHARS:
            return None
        hashed = hashlib.sha256(presented.strip().encode()).hexdigest()
        # All are compared, each in constant time: how long it takes says nothing about any of them.
        known = sum(hmac.compare_digest(hashed, key) for key in self.keys) > 0
        return hashed if known else None

    def _signed_in(self, session: Session | None) -> Visitor | None:
        """By a key that still stands in the settings."""
        role = self.keys.get(session.key) if session is not None else None
        if session is None or role is None:
            return None
        key = f"key {session.key[:SHOWN_HASH_CHARS]}"
        return Visitor(f"{session.name} ({key})" if session.name else key, role)

    def _named_by_proxy(self, request: Request) -> Visitor | None:
        header = self.proxy.user_header
        name = request.headers.get(header, "").strip() if header else ""
        if not name or not self._is_the_proxy(request):
            return None
        shown = printable(name, MAX_NAME_CHARS)
        operates = "*" in self.proxy.operators or name in self.proxy.operators
        return Visitor(shown, ConsoleRole.OPERATE if operates else ConsoleRole.READ)

    def _is_the_proxy(self, request: Request) -> bool:
        addresses, secret = self.proxy.proxy_addresses, self.proxy.proxy_secret
        if addresses and not _within(request.client.host if request.client else "", addresses):
            return False
        if secret is None:
            return bool(addresses)
        sent = request.headers.get(PROXY_SECRET_HEADER, "")
        return hmac.compare_digest(sent.encode(), secret.get_secret_value().encode())

    def _on_this_machine(self, request: Request, session: Session | None) -> Visitor | None:
        """Not through a proxy, and not through a name that somebody else's page made point here (DNS rebinding)."""
        client = request.client.host if request.client else ""
        if not is_loopback(client) or not is_loopback(_host_name(request)):
            return None
        name = session.name if session is not None else ""
        return Visitor(f"{name} (this machine)" if name else "this machine", ConsoleRole.OPERATE)


def access_rules(settings: Settings, *, host: str) -> AccessRules:
    """The rules of a console that listens on `host`."""
    serve = settings.serve
    keyless = not serve.key_hashes and settings.console.user_header is None
    return AccessRules(serve.key_roles, keyless and is_loopback(host), settings.console)


def _within(address: str, networks: tuple[str, ...]) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None) or found
    return any(mapped in ipaddress.ip_network(network) for network in networks)


def _host_name(request: Request) -> str:
    """The Host header without its port, an IPv6 address without its brackets."""
    host = request.headers.get("host", "")
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()
