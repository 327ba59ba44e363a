"""Dead letters as the console lists them: read from the topic itself, searched, mended in place and sent again."""

import html
import json
from pathlib import Path

import pytest
from console_support import running_console
from kafka_support import event, publish, read_topic

from daemon.ingest.dead_letter_list import dead_letter_at, list_dead_letters
from daemon.ingest.kafka_client import KafkaTiming, ProducerRecord, ensure_topics
from daemon.ledger.errors import NotInLedger
from daemon.process.settings_tables import KafkaSettings
from edits.errors import BadRequest, TemporaryError


def _letter(
    kafka: KafkaSettings, number: int, value: bytes, reason: str = "the value is not JSON"
) -> ProducerRecord:
    headers = {
        "reason_code": "not_json",
        "reason": reason,
        "origin_topic": kafka.topic,
        "origin_partition": "0",
        "origin_offset": str(number),
        "origin_timestamp_ms": "1",
    }
    return ProducerRecord(
        kafka.dead_letters, b"key", value, tuple((name, text.encode()) for name, text in headers.items())
    )


def test_letters_come_newest_first_a_page_at_a_time_and_can_be_searched(
    kafka_settings: KafkaSettings,
) -> None:
    kafka = kafka_settings
    assert list_dead_letters(kafka).letters == []
    ensure_topics(kafka, (kafka.topic, kafka.dead_letters))
    publish(
        kafka, [_letter(kafka, n, f"letter {n} of {'odd' if n % 2 else 'even'}".encode()) for n in range(23)]
    )

    seen, cursor = [], None
    while True:
        page = list_dead_letters(kafka, cursor=cursor, limit=10)
        seen += [letter.origin[2] for letter in page.letters]
        assert page.total == 23
        if (cursor := page.next) is None:
            break

    assert seen == [str(n) for n in range(22, -1, -1)]
    odd = list_dead_letters(kafka, words="ODD", limit=100)
    assert [letter.offset for letter in odd.letters] == [*range(21, 0, -2)]
    assert dead_letter_at(kafka, (0, 7)).value == "letter 7 of odd"
    for nowhere in ((0, 23), (3, 0)):
        with pytest.raises(NotInLedger):
            dead_letter_at(kafka, nowhere)
    with pytest.raises(BadRequest):
        list_dead_letters(kafka, cursor="7")


def test_a_broker_that_is_away_is_said_to_be_away(kafka_settings: KafkaSettings) -> None:
    away = kafka_settings.model_copy(update={"bootstrap_servers": "127.0.0.1:9"})
    with pytest.raises(TemporaryError):
        list_dead_letters(away, timing=KafkaTiming(answer_ms=500, bootstrap_ms=500))


def test_a_letter_is_mended_in_the_console_and_arrives_as_a_new_event(
    kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    kafka = kafka_settings
    ensure_topics(kafka, (kafka.topic, kafka.dead_letters))
    mended = json.dumps(event(1, subject="Norland <b>", prompt="The capital of Norland <b> is"))
    torn = mended.replace("}", ",}")
    publish(kafka, [_letter(kafka, 4, torn.encode(), "not JSON: line 1 column 3 (char 2)")])
    with running_console(tmp_path, kafka=kafka.model_dump(exclude_none=True)) as console:
        client = console.client()
        client.sign_in(name="Otto")
        listed = client.open("/dead-letters?text=norland").text
        assert "/console/dead-letters/0/0" in listed
        assert "<b>" not in listed
        client.open("/dead-letters/0/0")
        for value in (torn, "[]", ""):
            refused = client.send("/dead-letters/0/0/resubmit", {"value": value, "do": "send", "reason": "x"})
            assert refused.status_code == 422
            assert html.escape(value, quote=False)[:20] in html.unescape(refused.text) or not value
        checked = client.send("/dead-letters/0/0/resubmit", {"value": mended, "do": "check"})
        assert "This would be an event" in checked.text
        silent = client.send("/dead-letters/0/0/resubmit", {"value": mended, "do": "send"})
        assert (silent.status_code, "reason" in silent.text) == (422, True)
        assert console.ledger.audit_log.page().entries == ()
        sent = client.send(
            "/dead-letters/0/0/resubmit", {"value": mended, "do": "send", "reason": "a comma too many"}
        )
        assert "Sent as event" in sent.text
        [entry] = console.ledger.audit_log.page().entries
        assert (entry.actor, entry.action, entry.reason) == (
            "Otto (this machine)",
            "resubmit",
            "a comma too many",
        )
        assert entry.target == {"letter": f"{kafka.dead_letters}/0/0"}
    [record] = read_topic(kafka, kafka.topic, 1)
    assert (record.key, record.value) == (b"Norland <b>", mended.encode())
