"""What is away is said to be so: no page of the console is an error of ours because a database, a broker or a model is."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from support.console_support import RunningConsole, running_console
from support.ledger.ledger_backends import database_of, event
from support.waiting import free_port

from daemon.process.listening import answering

PAGES = ("/", "/generations/1", "/diff?a=0&b=1", "/generations/1/undo", "/facts", "/facts/1", "/facts/1/undo")
OTHERS = ("/facts/1/retry", "/ask", "/failures", "/checks", "/work", "/work/plan", "/audit", "/proposals/1")


@pytest.fixture
def away() -> dict[str, Any]:
    """Settings in which nothing answers that lies outside the ledger."""
    return {
        "kafka": {"bootstrap_servers": "127.0.0.1:1"},
        "console": {"prometheus": "http://127.0.0.1:1", "grafana": "http://127.0.0.1:1"},
    }


@pytest.fixture
def console(url: str, tmp_path: Path, away: dict[str, Any]) -> Iterator[RunningConsole]:
    with running_console(tmp_path, url=url, **away) as console:
        console.story.go_live(event("a", "Norland"))
        yield console


def take_away(console: RunningConsole) -> None:
    """The ledger's database ends while the console runs."""
    database, url = database_of(console.ledger), console.settings.ledger.url
    if url.startswith("sqlite"):
        database.engine.dispose()
        Path(url.removeprefix("sqlite:///")).write_text("these are my notes, " * 500)
    else:
        server, _, name = url.partition("?")[0].rpartition("/")
        with psycopg.connect(f"{server}/postgres".replace("+psycopg", ""), autocommit=True) as other:
            other.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
            other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])


def empty(console: RunningConsole) -> None:
    """The ledger's file is deleted, or its database made anew, while the console runs."""
    database, url = database_of(console.ledger), console.settings.ledger.url
    if url.startswith("sqlite"):
        database.engine.dispose()
        for file in Path(url.removeprefix("sqlite:///")).parent.glob("*.db*"):
            file.unlink()
    else:
        with database.write() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))


def words(page: str) -> str:
    """The main part of a page, without its markup."""
    return re.sub(r"<[^>]+>", " ", page.split("<main")[1])


@pytest.mark.parametrize("loss", [take_away, empty])
def test_a_ledger_that_is_away_is_said_to_be_on_every_page(
    console: RunningConsole, loss: Callable[[RunningConsole], None]
) -> None:
    client = console.client()
    client.open("/audit")
    loss(console)
    for path in (*PAGES, *OTHERS):
        answer = client.open(path)
        assert answer.status_code in (400, 503), path
        assert "ledger" in words(answer.text).lower(), path
    assert client.send("/work/hold", {"reason": "x"}).status_code in (400, 403, 503)


def test_a_broker_that_is_away_is_said_to_be_and_the_rest_of_work_is_shown(console: RunningConsole) -> None:
    client = console.client()
    letters = client.open("/dead-letters")
    assert (letters.status_code, "cannot be read now" in letters.text) == (200, True)
    assert "127.0.0.1:1" in letters.text
    one = client.open("/dead-letters/0:0")
    assert (one.status_code, "127.0.0.1:1" in one.text) == (503, True)
    for _ in range(5):  # the first reading takes its time, beside the page
        work = words(client.open("/work").text)
        assert "next nightly run" in work
        if "asking the broker" not in work:
            break
    assert "not known" in work
    assert "127.0.0.1:1" in work


def test_a_prometheus_that_is_away_or_something_else_is_said_to_be(
    tmp_path: Path, away: dict[str, Any]
) -> None:
    with running_console(tmp_path, **away) as console:
        page = console.client().open("/checks")
        assert (page.status_code, "Prometheus does not answer" in page.text) == (200, True)
    port = free_port()
    strange = Starlette(routes=[Route("/api/v1/alerts", lambda _: PlainTextResponse("<html>503"))])
    away["console"]["prometheus"] = f"http://127.0.0.1:{port}"
    with (
        answering([(strange, "127.0.0.1", port)], settings="test"),
        running_console(tmp_path / "other", **away) as console,
    ):
        page = console.client().open("/checks")
        assert (page.status_code, "no list of alerts" in page.text) == (200, True)


def test_without_a_model_ask_says_where_there_is_one(console: RunningConsole) -> None:
    client = console.client()
    assert "has no model to ask" in client.open("/ask").text
    asked = client.open("/ask?prompt=The+capital+of+Norland+is")
    assert (asked.status_code, "has no model to ask" in asked.text) == (422, True)
