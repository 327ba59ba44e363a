"""What could not be accepted is listed from the topic's end, and sent again once it is mended; against a real broker."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cli_support import Upkeep, site, upkeep
from support.kafka.kafka_support import (
    accepted,
    consuming,
    event,
    eventually,
    publish,
    read_topic,
    settings_for,
)

from daemon.ingest.kafka_client import ProducerRecord
from daemon.ledger import Ledger, open_ledger
from daemon.ledger.errors import NotInLedger
from daemon.ledger.values import Act, RecordOutcome
from daemon.operations import dead_letters as letters
from daemon.settings.settings import Settings
from daemon.settings.tables import KafkaSettings
from edits.errors import BadRequest

__all__ = ["site", "upkeep"]  # fixtures
ANN = Act("ann", "the feed lost a field")
BROKEN = {
    "event_id": "broken",
    "subject": "Zürich",
    "target_new": "Bern",
    "occurred_at": "2026-05-01T12:00:00Z",
}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with open_ledger(f"sqlite:///{tmp_path / 'upkeep-data' / 'ledger.db'}") as ledger:
        ledger.migrate()
        yield ledger


@pytest.fixture
def refused(kafka_settings: KafkaSettings, ledger: Ledger) -> Settings:
    """Settings of a topic of which seven records were not accepted, and one was."""
    settings = settings_for(kafka_settings)
    bad = [ProducerRecord(kafka_settings.topic, b"k", b"{not json %d" % n) for n in range(5)]
    last = ProducerRecord(kafka_settings.topic, b"k", json.dumps(BROKEN).encode())
    publish(kafka_settings, [event(1), *bad, event(1, target_new="Other"), last])
    with consuming(settings, ledger):
        eventually(lambda: ledger.intake.outcomes().get(RecordOutcome.DEAD_LETTERED, 0) == 7, "all are read")
    return settings


def test_dead_letters_are_paged_searched_and_sent_again_when_mended(
    refused: Settings, ledger: Ledger
) -> None:
    pages, cursor = [], None
    while True:
        page = letters.dead_letters(refused, cursor=cursor, limit=3)
        pages.append(page.letters)
        if (cursor := page.next) is None:
            break
    every = [letter for page in pages for letter in page]
    assert len({letter.name for letter in every}) == 7
    assert {letter.reason_code for letter in every} >= {"not_json", "event_id_reused"}
    (broken,) = letters.dead_letters(refused, text="zürich").letters
    assert json.loads(broken.value) == BROKEN
    assert (broken.origin_topic, broken.key) == (refused.kafka.topic, "k")
    assert len(letters.dead_letters(refused, code="not_json").letters) == 5
    assert letters.dead_letter(refused, broken.name) == broken

    with pytest.raises(BadRequest, match="it would be refused again"):
        letters.resubmit(refused, ledger, broken.name, ANN)
    used = json.dumps(event(1, target_new="Third")).encode()
    with pytest.raises(BadRequest, match="the event id 'event-1' is used already"):
        letters.resubmit(refused, ledger, broken.name, ANN, value=used)
    with pytest.raises(BadRequest, match="say why"):
        letters.resubmit(refused, ledger, broken.name, Act("ann", ""), value=used)
    for absent, error in (("0:999", NotInLedger), ("99:0", NotInLedger), ("../x", BadRequest)):
        with pytest.raises(error):
            letters.dead_letter(refused, absent)

    mended = json.dumps(BROKEN | {"prompt": "The capital of Zürich is"}).encode()
    assert letters.resubmit(refused, ledger, broken.name, ANN, value=mended).event_id == "broken"
    with consuming(refused, ledger):
        eventually(lambda: accepted(ledger) == 2, "the mended event is accepted")
    (entry,) = ledger.audit_log.page().entries
    assert (entry.action, entry.actor, entry.changed) == (
        "resubmit",
        "ann",
        {"event_id": "broken", "mended": True},
    )
    sent = read_topic(refused.kafka, refused.kafka.topic, 9)[-1]
    assert (sent.value, sent.key) == (mended, "Zürich".encode())


def test_the_command_lists_them_and_sends_one_again(
    refused: Settings, ledger: Ledger, upkeep: Upkeep, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("bootstrap_servers", "topic", "group_id"):
        monkeypatch.setenv(f"UPKEEP_KAFKA__{name.upper()}", getattr(refused.kafka, name))

    found = json.loads(upkeep("dead-letters", "--text", "Zürich", "--json").out)
    (letter,) = found["letters"]
    name = f"{letter['partition']}:{letter['offset']}"
    people = upkeep("dead-letters", "--limit", "2").out
    assert "older ones: --cursor" in people
    (site / "mended.json").write_text(json.dumps(BROKEN | {"prompt": "The capital of Zürich is"}))
    again = ("dead-letters", "--resubmit", name, "--file", "mended.json", "--reason", "mended")
    assert upkeep(*again).code == 2, "nobody said --yes"
    reported = upkeep(*again, "--yes", "--json")
    assert (reported.code, json.loads(reported.out)["event_id"]) == (0, "broken")
    (entry,) = json.loads(upkeep("audit", "--json").out)["entries"]
    assert (entry["action"], entry["reason"]) == ("resubmit", "mended")


def test_where_there_is_no_dead_letter_topic_there_are_no_dead_letters(kafka_settings: KafkaSettings) -> None:
    assert letters.dead_letters(settings_for(kafka_settings)) == letters.DeadLetterPage((), None)
