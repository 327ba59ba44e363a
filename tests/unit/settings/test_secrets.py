"""Passwords, wherever an address or a message has them, are shown to nobody."""

import json
import logging

import pytest
import structlog

from daemon.process.log import configure_logging
from daemon.settings.secrets import MASK, mask_text, mask_url
from daemon.settings.tables import LedgerSettings, LogSettings

ADDRESSES = [
    "postgresql://me:hunter2@db/upkeep",
    "postgresql://me:hun@ter2@db/upkeep",
    "postgresql://me:hun/ter2@db/upkeep",
    "postgresql://me:hunter2@db/upkeep?application_name=a@b",
    "postgresql://db/upkeep?user=me&password=hunter2&sslmode=require",
    "postgresql://db/upkeep?%70assword=hunter2",
    "postgresql://db/upkeep?sslpassword=hunter2",
    "postgresql://db/upkeep?PASSWORD=hun@ter2",
    "postgres://me:hunter2@db,db2/upkeep?target_session_attrs=read-write",
    "postgresql://me:it's-hunter2@db/upkeep",
]
MESSAGES = [
    "PGPASSWORD=hunter2 psql",
    r"password = 'it\'s hunter2' host=db",
    "{'sasl_plain_password': 'hunter2'}",
    '{"password": "say \\"hunter2\\"", "n": 1}',
    "Authorization: Bearer hunter2",
    "the header was Basic aHVudGVyMjpodW50ZXIy, hunter",
    "client_secret=hunter2&x=1",
    "http://gateway/v1?api-key=hunter2",
    "passwd: hunter2",
]


@pytest.mark.parametrize("url", ADDRESSES)
def test_an_address_is_shown_without_its_password(url: str) -> None:
    for shown in (mask_url(url), LedgerSettings(url=url).shown_url):
        assert "hun" not in shown
        assert "ter2" not in shown
        assert shown.startswith("postgres")


@pytest.mark.parametrize(
    "url", ['postgresql://me:a"hunter2@db/upkeep', "postgresql://me:hun ter2@db/upkeep", "//me:hunter2@db/u"]
)
def test_an_address_that_is_known_as_one_is_masked_whatever_its_password_has(url: str) -> None:
    shown = mask_url(url)
    assert "hun" not in shown
    assert "ter2" not in shown
    assert "db/u" in shown


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_that_quotes_a_secret_is_shown_without_it(message: str) -> None:
    shown = mask_text(message)
    assert not {"hunter2", "aHVudGVyMjpodW50ZXIy"} & {part.strip("'\"\\,}") for part in shown.split()}
    assert "hunter2" not in shown


def test_a_line_of_json_stays_one() -> None:
    line = json.dumps(
        {"jobs": [{"token": 5, "password": 'a"b', "secret": None}], "url": "postgresql://me:x@db/u"}
    )
    shown = json.loads(mask_text(line))
    assert shown["jobs"] == [{"token": 5, "password": MASK, "secret": None}]
    assert shown["url"] == f"postgresql://me:{MASK}@db/u"


def test_what_is_no_secret_stays_as_it_is() -> None:
    for text in (
        "sqlite:////var/lib/upkeep/ledger.db",
        "http://127.0.0.1:8080/readyz",
        "postgresql://me@db/upkeep?sslmode=require",
        "FATAL: password authentication failed for user me",
        "12 tokens = 4 words, new_tokens=7",
        "the signal was sig=9, author: somebody, Basic rules",
    ):
        assert mask_text(text) == text


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("url", [url for url in ADDRESSES if "%70" not in url])
def test_no_line_of_a_log_has_a_password(url: str, as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings(as_json=as_json), "test")
    log = structlog.get_logger("test")
    log.warning(
        "cannot connect", error=f"connection to {url} failed", nested={"password": "hunter2", "to": [url]}
    )
    logging.getLogger("library").warning("conninfo: host=db password=hunter2 user=me, %s", url)
    log.error("failed", exc_info=ValueError(f"bad address {url}"))
    written = capsys.readouterr().err
    assert written.count("\n") >= 3
    assert "hun" not in written
    assert "ter2" not in written
