"""The console on a real socket over a ledger that a test fills, and a browser's view of it over plain HTTP."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from support.ledger.ledger_backends import Clock, Story
from support.waiting import free_port

from daemon.console.app import console_routes, create_console
from daemon.ledger import Ledger, open_ledger, utc_now
from daemon.process.listening import answering
from daemon.settings.settings import Settings

READ = "read-key-of-thirty-two-characters"
OPERATE = "operate-key-of-thirty-two-charact"


def hashed(key: str) -> str:
    """A key as the settings keep it."""
    return hashlib.sha256(key.encode()).hexdigest()


class RunningConsole:
    """A console, and the ledger and story that a test tells it."""

    def __init__(self, settings: Settings, ledger: Ledger, clock: Clock) -> None:
        self.settings = settings
        self.ledger = ledger
        self.clock = clock
        self.story = Story(ledger, clock)
        self.url = f"http://127.0.0.1:{settings.console.port}"

    def client(self, **options: Any) -> "Client":
        """A browser without a script, with cookies of its own."""
        return Client(httpx.Client(base_url=self.url, timeout=20, **options))


class Client:
    """Opens pages and sends their forms, as a browser without a script does."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http
        self.page = httpx.Response(200)

    def open(self, path: str, **headers: str) -> httpx.Response:
        """A page, behind all its redirects."""
        self.page = self.http.get(f"/console{path}", follow_redirects=True, headers=headers)
        return self.page

    def hidden(self) -> dict[str, str]:
        """The hidden fields of the page's last form: its token is one of them."""
        fields = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', self.page.text)
        return dict(fields)

    def send(
        self, path: str, fields: Mapping[str, str], *, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """A form of the page that was opened last, with its hidden fields, behind all redirects."""
        self.page = self.http.post(
            f"/console{path}",
            data={**self.hidden(), **fields},
            headers=dict(headers or {}),
            follow_redirects=True,
        )
        return self.page

    def sign_in(self, key: str = "", name: str = "") -> httpx.Response:
        """Sign in on the form."""
        self.open("/sign-in")
        return self.send("/sign-in", {"key": key, "name": name})


@contextmanager
def running_console(
    folder: Path,
    *,
    clock: Clock | None = None,
    session_clock: Any = utc_now,
    url: str | None = None,
    **tables: Mapping[str, Any],
) -> Iterator[RunningConsole]:
    """While the block runs, a console answers over a new ledger, or that of `url`; `tables` are of the settings."""
    port = free_port()
    console = {"port": port, **tables.pop("console", {})}
    settings = Settings.model_validate(
        {"ledger": {"url": url or f"sqlite:///{folder}/ledger.db"}, "console": console, **tables}
    )
    at = clock or Clock()
    with open_ledger(settings.ledger.url, clock=at) as ledger:
        ledger.migrate()
        app = create_console(settings, ledger, host=settings.console.host, clock=session_clock)
        alone = Starlette(routes=console_routes(app))
        with answering([(alone, "127.0.0.1", port)], settings="console.port"):
            yield RunningConsole(settings, ledger, at)


def at(text: str) -> datetime:
    """A time, in UTC where it says no zone."""
    return datetime.fromisoformat(text)
