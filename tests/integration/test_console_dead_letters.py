"""Dead letters in the console: read from the topic itself, mended in place, checked, and sent again."""

import html
import json
from pathlib import Path

from support.console_support import running_console
from support.kafka.kafka_support import event, publish, read_topic

from daemon.ingest.kafka_client import ProducerRecord, ensure_topics
from daemon.settings.tables import KafkaSettings


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
        assert "/console/dead-letters/0:0" in listed
        assert "<b>" not in listed
        client.open("/dead-letters/0:0")
        for value in (torn, "[]", ""):
            refused = client.send("/dead-letters/0:0/resubmit", {"value": value, "do": "send", "reason": "x"})
            assert refused.status_code == 422
            assert html.escape(value, quote=False)[:20] in html.unescape(refused.text) or not value
        checked = client.send("/dead-letters/0:0/resubmit", {"value": mended, "do": "check"})
        assert "This would be an event" in checked.text
        silent = client.send("/dead-letters/0:0/resubmit", {"value": mended, "do": "send"})
        assert (silent.status_code, "reason" in silent.text) == (422, True)
        assert console.ledger.audit_log.page().entries == ()
        sent = client.send(
            "/dead-letters/0:0/resubmit", {"value": mended, "do": "send", "reason": "a comma too many"}
        )
        assert "Sent as event" in sent.text
        [entry] = console.ledger.audit_log.page().entries
        assert (entry.actor, entry.action, entry.reason) == (
            "Otto (this machine)",
            "resubmit",
            "a comma too many",
        )
        assert (entry.target["dead_letter"], entry.changed["mended"]) == ("0:0", True)
    [record] = read_topic(kafka, kafka.topic, 1)
    assert (record.key, record.value) == (b"Norland <b>", mended.encode())
