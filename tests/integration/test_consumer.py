"""The consumer against a real broker: nothing is lost, nothing is counted twice, everything is said."""

import json
import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from support.kafka.kafka_support import (
    CountingMetrics,
    accepted,
    consumer_process,
    consuming,
    event,
    eventually,
    fresh_kafka_settings,
    publish,
    read_topic,
    settings_for,
)

from daemon.ingest.embedded_broker import EmbeddedBroker
from daemon.ingest.kafka_client import KafkaTiming, ProducerRecord
from daemon.ledger import Ledger, open_ledger
from daemon.ledger.errors import LedgerUnavailable
from daemon.ledger.values import EditState, RecordOutcome
from daemon.settings.tables import KafkaSettings

# Notices an outage within seconds instead of fifteen.
IMPATIENT = KafkaTiming(answer_ms=1_500, bootstrap_ms=1_500, watch_seconds=1.0)


@pytest.fixture
def ledger_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def ledger(ledger_url: str) -> Any:
    with open_ledger(ledger_url) as ledger:
        ledger.migrate()
        yield ledger


def messages(log: list[Any]) -> list[str]:
    return [str(entry["event"]) for entry in log]


def test_a_record_that_swells_when_it_is_decompressed_is_a_dead_letter_and_the_next_one_is_taken(
    kafka_settings: KafkaSettings, ledger: Ledger
) -> None:
    producer = KafkaProducer(
        bootstrap_servers=kafka_settings.bootstrap_servers,
        compression_type="gzip",
        max_request_size=1 << 30,
        linger_ms=500,
    )
    try:
        for value in (json.dumps(event(1)).encode(), bytes(40 << 20), json.dumps(event(2)).encode()):
            producer.send(kafka_settings.topic, value, b"key")
        producer.flush(30)
    finally:
        producer.close(timeout=5)
    with consuming(settings_for(kafka_settings), ledger) as metrics:
        eventually(lambda: metrics.events["accepted"] == 2, "both events are taken", seconds=60)
        eventually(lambda: metrics.events["dead_lettered"] == 1, "the third is a dead letter")
    (letter,) = read_topic(kafka_settings, kafka_settings.dead_letters, 1)
    assert dict(letter.headers)["reason_code"] == b"too_large"


def test_whatever_cannot_be_read_becomes_a_dead_letter_with_its_reason(
    kafka_settings: KafkaSettings, ledger: Ledger
) -> None:
    topic = kafka_settings.topic
    hostile = {
        "bad_utf8": b"\xff\xfe",
        "not_json": b"{",
        "not_finite": b'{"a": NaN}',
        "too_deep": b"[" * 5_000 + b"]" * 5_000,
        "wrong_type": b"[]",
        "duplicate_key": b'{"a": 1, "a": 2}',
        "empty_value": None,
        "too_large": b'"' + b"x" * 70_000 + b'"',
        "missing_field": b'{"event_id": "1"}',
        "unknown_schema_version": json.dumps(event(1, schema_version=2)).encode(),
        "prompt_without_subject": json.dumps(event(1, prompt="The capital is")).encode(),
        "unknown_specversion": b'{"specversion": "0.3", "id": "1", "data": {}}',
    }
    letters = [
        ProducerRecord(topic, code.encode(), value, (("from", b"x"),)) for code, value in hostile.items()
    ]
    publish(
        kafka_settings,
        [event(0), *letters, ProducerRecord(topic, None, b""), event(0), event(0, target_new="Z")],
    )

    with consuming(settings_for(kafka_settings, max_value_bytes=65_536), ledger) as metrics:
        eventually(lambda: sum(metrics.events.values()) == len(letters) + 4, "all records taken")

    found = read_topic(kafka_settings, kafka_settings.dead_letters, len(letters) + 2)
    by_offset = {int(dict(letter.headers)["origin_offset"]): letter for letter in found}
    assert metrics.events == {"accepted": 1, "duplicate": 1, "dead_lettered": len(letters) + 2}
    for offset, (code, value) in enumerate(hostile.items(), start=1):
        headers = dict(by_offset[offset].headers)
        assert (headers["reason_code"].decode(), by_offset[offset].value) == (code, value)
        assert headers["reason"]
        assert headers["origin_topic"].decode() == topic
        assert headers["origin_partition"] == b"0"
        assert headers["from"] == b"x"
        assert by_offset[offset].key == code.encode()
    assert dict(by_offset[len(letters) + 3].headers)["reason_code"] == b"event_id_reused"


def test_the_log_names_the_event_of_a_dead_letter_where_it_could_be_read(
    kafka_settings: KafkaSettings, ledger: Ledger
) -> None:
    publish(
        kafka_settings,
        [event(0), event(0, target_new="Z"), ProducerRecord(kafka_settings.topic, b"k", b"{")],
    )
    with (
        structlog.testing.capture_logs() as log,
        consuming(settings_for(kafka_settings), ledger) as metrics,
    ):
        eventually(lambda: sum(metrics.events.values()) == 3, "all records taken")
        eventually(lambda: len(read_topic(kafka_settings, kafka_settings.dead_letters, 2)) == 2, "letters")

    reported = [line for line in log if line["event"] == "dead letter"]
    first = next(edit.event_id for edit in ledger.audit.facts())
    assert [(line["reason_code"], line["event_id"]) for line in reported] == [
        ("event_id_reused", first),
        ("not_json", None),
    ]


def _took(metrics: CountingMetrics, records: int) -> bool:
    return sum(metrics.events.values()) == records


def test_a_redelivered_topic_changes_nothing_in_the_ledger(
    kafka_settings: KafkaSettings, ledger: Ledger
) -> None:
    publish(
        kafka_settings, [*(event(n) for n in range(50)), ProducerRecord(kafka_settings.topic, b"k", b"{")]
    )
    for group in ("first", "second"):
        settings = settings_for(
            kafka_settings.model_copy(update={"group_id": kafka_settings.group_id + group})
        )
        with consuming(settings, ledger) as metrics:
            eventually(partial(_took, metrics, 51), "all records taken")

    assert ledger.intake.outcomes()[RecordOutcome.ACCEPTED] == 50
    assert ledger.intake.outcomes()[RecordOutcome.DEAD_LETTERED] == 1
    assert ledger.audit.counts()[EditState.PENDING] == 50


def test_a_consumer_killed_in_the_middle_loses_nothing_and_doubles_nothing(
    kafka_settings: KafkaSettings, ledger: Ledger, ledger_url: str
) -> None:
    publish(kafka_settings, [event(n) for n in range(5_000)])

    with consumer_process(kafka_settings, ledger_url) as process:
        eventually(lambda: accepted(ledger) > 0, "the first consumer takes records")
        process.send_signal(signal.SIGKILL)
        process.wait()
        in_the_middle = accepted(ledger)
    with consumer_process(kafka_settings, ledger_url):
        eventually(lambda: accepted(ledger) == 5_000, "the second consumer takes the rest", seconds=60)

    assert in_the_middle < 5_000
    assert ledger.audit.counts()[EditState.PENDING] == 5_000
    assert ledger.intake.outcomes().get(RecordOutcome.DUPLICATE, 0) == 0


def test_two_consumers_share_a_group_and_one_takes_over_when_the_other_leaves(
    bootstrap_servers: str, ledger: Ledger
) -> None:
    kafka = fresh_kafka_settings(bootstrap_servers, partitions=4)
    settings = settings_for(kafka)
    publish(kafka, [event(n) for n in range(400)])

    with consuming(settings, ledger) as first:
        eventually(lambda: accepted(ledger) == 400, "the first consumer takes all")
        with consuming(settings, ledger) as second:
            eventually(lambda: len(second.lags) == 2, "the second consumer gets half of the partitions")
            publish(kafka, [event(n) for n in range(400, 800)])
            eventually(lambda: accepted(ledger) == 800, "both take records")
        publish(kafka, [event(n) for n in range(800, 1_200)])
        eventually(lambda: accepted(ledger) == 1_200, "the first consumer takes over", seconds=20)

    assert first.events["accepted"] + second.events["accepted"] == 1_200
    assert second.events["accepted"] > 0
    assert ledger.intake.outcomes().get(RecordOutcome.DUPLICATE, 0) == 0


def test_a_stopped_consumer_has_committed_what_it_took(kafka_settings: KafkaSettings, ledger: Ledger) -> None:
    publish(kafka_settings, [event(n) for n in range(120)])
    with consuming(settings_for(kafka_settings, max_poll_records=10), ledger):
        eventually(lambda: accepted(ledger) > 20, "some records are taken")

    member = KafkaConsumer(
        bootstrap_servers=kafka_settings.bootstrap_servers,
        group_id=kafka_settings.group_id,
        enable_auto_commit=False,
    )
    try:
        assert member.committed(TopicPartition(kafka_settings.topic, 0)) == accepted(ledger)
    finally:
        member.close()


def test_a_full_ledger_pauses_the_partitions_and_loses_nothing(
    kafka_settings: KafkaSettings, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = ledger.intake.record
    full_until = time.monotonic() + 5  # longer than the session timeout: the membership has to live

    def full(batch: Any) -> Any:
        if time.monotonic() < full_until:
            raise LedgerUnavailable("database or disk is full")
        return record(batch)

    monkeypatch.setattr(ledger.intake, "record", full)
    publish(kafka_settings, [event(n) for n in range(700)])

    with structlog.testing.capture_logs() as log, consuming(settings_for(kafka_settings), ledger) as metrics:
        eventually(lambda: accepted(ledger) == 700, "all records are taken in the end")

    assert metrics.events == {"accepted": 700}
    away = "the ledger is away: partitions are paused, no offset is committed; trying again"
    assert messages(log).count(away) == 1
    assert "the ledger is back" in messages(log)
    assert messages(log).count("partitions assigned") == 1


def test_too_large_a_backlog_pauses_until_it_has_gone_down(
    kafka_settings: KafkaSettings, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(kafka_settings, [event(n) for n in range(100)])
    with (
        structlog.testing.capture_logs() as log,
        consuming(settings_for(kafka_settings, max_backlog=30, max_poll_records=10), ledger) as metrics,
    ):
        eventually(lambda: accepted(ledger) == 30, "the backlog is full")
        eventually(lambda: metrics.lags.get((kafka_settings.topic, 0)) == 70, "the rest shows as lag")
        time.sleep(2)
        assert accepted(ledger) == 30
        monkeypatch.setattr(ledger.intake, "backlog", lambda: 5)  # as if the workers had caught up
        eventually(lambda: accepted(ledger) == 100, "the rest is taken")

    assert messages(log).count("paused: too many edits wait to be applied") == 1
    assert messages(log).count("resumed: the backlog has gone down") == 1


def test_a_broker_that_is_silent_for_a_while_is_waited_for(
    own_broker: EmbeddedBroker, ledger: Ledger
) -> None:
    kafka = fresh_kafka_settings(own_broker.bootstrap_servers)
    publish(kafka, [event(n) for n in range(300)])

    with structlog.testing.capture_logs() as log, consuming(settings_for(kafka), ledger, timing=IMPATIENT):
        eventually(lambda: accepted(ledger) == 300, "the first records are taken")
        os.kill(own_broker.pid, signal.SIGSTOP)
        time.sleep(6)
        os.kill(own_broker.pid, signal.SIGCONT)
        publish(kafka, [event(n) for n in range(300, 600)])
        eventually(lambda: accepted(ledger) == 600, "the records after the silence are taken", seconds=40)

    away = "the Kafka broker is away: records wait there, nothing is lost; trying again"
    assert messages(log).count(away) == 1
    assert "the Kafka broker is back" in messages(log)


def test_a_broker_that_comes_back_empty_is_consumed_from_its_beginning(
    own_broker: EmbeddedBroker, ledger: Ledger
) -> None:
    kafka = fresh_kafka_settings(own_broker.bootstrap_servers)
    publish(kafka, [event(n) for n in range(300)])

    with structlog.testing.capture_logs() as log, consuming(settings_for(kafka), ledger, timing=IMPATIENT):
        eventually(lambda: accepted(ledger) == 300, "the first records are taken")
        os.kill(own_broker.pid, signal.SIGKILL)
        time.sleep(6)
        own_broker.start()  # same port, and it remembers nothing
        publish(kafka, [event(n) for n in range(300, 700)])
        eventually(lambda: accepted(ledger) == 700, "the records of the new life are taken", seconds=40)

    assert "the Kafka broker is back" in messages(log)


@pytest.mark.parametrize("how", ["the broker lost it", "somebody deleted it"])
def test_a_topic_that_is_made_anew_under_a_running_consumer_is_read_from_its_beginning(
    own_broker: EmbeddedBroker, ledger: Ledger, how: str
) -> None:
    kafka = fresh_kafka_settings(own_broker.bootstrap_servers)
    publish(kafka, [event(n) for n in range(30)])

    with structlog.testing.capture_logs() as log, consuming(settings_for(kafka), ledger, timing=IMPATIENT):
        eventually(lambda: accepted(ledger) == 30, "the first records are taken")
        if how == "the broker lost it":
            os.kill(own_broker.pid, signal.SIGKILL)
            eventually(own_broker.revive, "another broker stands in its place")
        else:
            admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
            admin.delete_topics([kafka.topic])
            admin.close()
        # As many as before: the consumer's position, 30, is a place in this topic, too.
        publish(kafka, [event(n) for n in range(30, 60)])
        eventually(lambda: accepted(ledger) == 60, "the records of the new topic are taken")

    assert any("the topic was made anew" in message for message in messages(log))


def test_a_record_whose_header_name_is_no_text_does_not_stop_the_partition(
    kafka_settings: KafkaSettings, ledger: Ledger
) -> None:
    class Raw(str):
        """kafka-python insists on text; other clients do not."""

        def encode(self, *args: Any, **options: Any) -> bytes:
            return b"\xff\xfe"

    bad = ProducerRecord(kafka_settings.topic, b"k", json.dumps(event(1)).encode(), ((Raw("x"), b"v"),))
    publish(kafka_settings, [event(0), bad, event(2)])

    with consuming(settings_for(kafka_settings), ledger):
        eventually(lambda: accepted(ledger) == 3, "the record and those behind it are taken")
