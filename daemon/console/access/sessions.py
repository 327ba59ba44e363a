"""Signed sessions: who a browser belongs to, kept in its cookie alone, and the token that its forms must carry.

The cookie is `payload.signature`, both base64url; the payload is JSON. Nothing of it is kept here, so several servers
that share `console.secret` know each other's sessions, and a restart without one ends them all.
"""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

MAX_COOKIE_CHARS = 2_048
MAX_NAME_CHARS = 80


@dataclass(frozen=True, slots=True)
class Session:
    """One browser's stay.

    Attributes:
        id: random; the forms' token is bound to it.
        name: how the person called themselves; empty: not at all.
        key: SHA-256 of the key that they signed in with; empty: none.
        expires: seconds since 1970.
    """

    id: str
    name: str
    key: str
    expires: float


class Sessions:
    """Makes, signs and reads sessions; a cookie that was tampered with or outlived is none."""

    def __init__(self, secret: bytes, *, lifetime: timedelta, clock: Callable[[], datetime]) -> None:
        self._secret = secret
        self._lifetime = lifetime
        self._clock = clock

    def begin(self, *, name: str = "", key: str = "") -> Session:
        """A new session, with an id that nobody has seen."""
        expires = (self._clock() + self._lifetime).timestamp()
        return Session(secrets.token_urlsafe(16), name[:MAX_NAME_CHARS], key, expires)

    def cookie(self, session: Session) -> str:
        """The session as its cookie carries it."""
        payload = _encode(json.dumps(asdict(session), separators=(",", ":")).encode())
        return f"{payload}.{self._sign('session', payload)}"

    def read(self, cookie: str | None) -> Session | None:
        """The session of a cookie; None where it is not one of ours, or over."""
        if not cookie or len(cookie) > MAX_COOKIE_CHARS:
            return None
        payload, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._sign("session", payload).encode()):
            return None
        try:  # what is signed is ours, though perhaps of another release
            session = Session(**json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))))
        except (TypeError, ValueError, binascii.Error):
            return None
        return session if session.expires > self._clock().timestamp() else None

    def form_token(self, session: Session) -> str:
        """What every form of this session sends back: another site does not know it."""
        return self._sign("form", session.id)

    def is_form_token(self, session: Session, token: str) -> bool:
        """Compared in constant time."""
        return hmac.compare_digest(token.encode(), self.form_token(session).encode())

    def _sign(self, purpose: str, text: str) -> str:
        signed = hmac.new(self._secret, f"{purpose}:{text}".encode(), hashlib.sha256)
        return _encode(signed.digest())


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
