"""What leaves for Kafka: edit outcomes through the outbox, and files of events; against a real broker."""

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import structlog
from support.kafka.kafka_support import (
    MOMENT,
    CountingMetrics,
    event,
    eventually,
    fresh_kafka_settings,
    publish,
    read_topic,
    settings_for,
)

from daemon.events.fact_event import parse_record
from daemon.events.templates import Templates
from daemon.ingest.consume_role import run_consume_role
from daemon.ingest.embedded_broker import EmbeddedBroker
from daemon.ingest.kafka_client import BrokerUnavailable, KafkaTiming
from daemon.ingest.outbox_relay import OutboxRelay
from daemon.ingest.submit import SubmitProgress, SubmitRefused, submit_file
from daemon.ledger import Ledger, open_ledger
from daemon.ledger.values import ConsumedRecord, Plan, RecordOutcome, Supersession
from daemon.settings.tables import KafkaSettings


@pytest.fixture
def ledger(tmp_path: Path) -> Any:
    with open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        ledger.migrate()
        yield ledger


def with_outcomes(ledger: Ledger, topic: str, first: int, count: int) -> None:
    """Take `count` pairs of events of which the first one each is superseded by the second."""
    numbers = range(first, first + 2 * count)
    records = [
        ConsumedRecord(
            topic,
            0,
            n,
            str(n),
            parse_record(
                json.dumps(event(n)).encode(), None, (), timestamp_ms=0, templates=Templates(), now=MOMENT
            ),
        )
        for n in numbers
    ]
    ledger.intake.record(records)
    ids = [ledger.audit.facts(f"Subject {n}", None, 1, 0)[0].id for n in numbers]
    pairs = zip(ids[::2], ids[1::2], strict=True)
    ledger.plans.store(
        Plan(lane=None, seed=0, batches=(), superseded=tuple(Supersession(*pair) for pair in pairs))
    )


def test_every_outcome_is_told_once_and_in_order(kafka_settings: KafkaSettings, ledger: Ledger) -> None:
    with_outcomes(ledger, kafka_settings.topic, 0, 20)
    relay = OutboxRelay(kafka_settings, ledger=ledger)

    assert (relay.relay_once(), relay.relay_once()) == (20, 0)

    reported = [
        json.loads(record.value) for record in read_topic(kafka_settings, kafka_settings.outcomes_topic, 20)
    ]
    assert [outcome["event_id"] for outcome in reported] == [f"event-{n}" for n in range(0, 40, 2)]
    assert {outcome["state"] for outcome in reported} == {"superseded"}
    assert ledger.outbox.unsent(10) == []
    relay.close()


def test_two_relays_at_once_send_every_outcome_once_and_in_the_order_of_its_key(
    kafka_settings: KafkaSettings, ledger: Ledger
) -> None:
    with_outcomes(ledger, kafka_settings.topic, 0, 1_000)
    stop = threading.Event()
    relays = [OutboxRelay(kafka_settings, ledger=ledger) for _ in range(2)]
    threads = [threading.Thread(target=relay.run, args=(stop,)) for relay in relays]
    for thread in threads:
        thread.start()
    eventually(lambda: ledger.outbox.unsent(1) == [], "the outcomes are sent")
    stop.set()
    for thread in threads:
        thread.join(10)
    reported = [
        json.loads(record.value)
        for record in read_topic(kafka_settings, kafka_settings.outcomes_topic, 1_001, seconds=3)
    ]
    assert [outcome["event_id"] for outcome in reported] == [f"event-{n}" for n in range(0, 2_000, 2)]


def test_a_relay_that_ends_lets_the_next_one_go_on_at_once_and_one_that_dies_soon(
    kafka_settings: KafkaSettings, ledger: Ledger
) -> None:
    with_outcomes(ledger, kafka_settings.topic, 0, 4)
    assert ledger.outbox.claim("a", 10, seconds=0.3)
    assert ledger.outbox.claim("b", 10, seconds=60) == []
    assert ledger.outbox.claim("a", 10, seconds=0.3), "its own turn goes on"
    eventually(lambda: bool(ledger.outbox.claim("b", 10, seconds=60)), "the turn of the dead one ends")
    assert ledger.outbox.claim("a", 10, seconds=60) == []
    ledger.outbox.yield_turn("b")
    assert ledger.outbox.claim("a", 10, seconds=60)


def test_outcomes_wait_while_the_broker_is_away(own_broker: EmbeddedBroker, ledger: Ledger) -> None:
    timing = KafkaTiming(answer_ms=1_000, bootstrap_ms=1_000)
    kafka = fresh_kafka_settings(own_broker.bootstrap_servers, request_timeout_ms=1_000)
    stop = threading.Event()
    relay = threading.Thread(target=OutboxRelay(kafka, ledger=ledger, timing=timing).run, args=(stop,))
    own_broker.stop()
    with structlog.testing.capture_logs() as log:
        relay.start()
        with_outcomes(ledger, kafka.topic, 0, 3)
        eventually(lambda: any("is away" in entry["event"] for entry in log), "the outage is told")
        assert len(ledger.outbox.unsent(10)) == 3
        own_broker.start()
        eventually(lambda: ledger.outbox.unsent(10) == [], "the outcomes are sent")
        stop.set()
        relay.join(10)
    assert len(read_topic(kafka, kafka.outcomes_topic, 3)) == 3


def test_a_broker_that_freezes_in_the_middle_ends_no_relay_and_leaves_no_thread(
    own_broker: EmbeddedBroker, ledger: Ledger
) -> None:
    """kafka-python's own `close` raises there, and keeps its thread, which would send the old batch later."""
    timing = KafkaTiming(answer_ms=1_000, bootstrap_ms=1_000)
    kafka = fresh_kafka_settings(own_broker.bootstrap_servers, request_timeout_ms=60_000)
    relay = OutboxRelay(kafka, ledger=ledger, timing=timing, send_seconds=0.5)
    with_outcomes(ledger, kafka.topic, 0, 1)
    assert relay.relay_once() == 1
    with_outcomes(ledger, kafka.topic, 100, 1)
    os.kill(own_broker.pid, signal.SIGSTOP)
    try:
        with pytest.raises(BrokerUnavailable):
            relay.relay_once()
        relay.close()
        eventually(
            lambda: not any("kafka" in thread.name.lower() for thread in threading.enumerate()),
            "the producer's threads end",
        )
    finally:
        os.kill(own_broker.pid, signal.SIGCONT)
    assert relay.relay_once() == 1
    relay.close()


def test_the_role_consumes_and_relays_and_ends_both(kafka_settings: KafkaSettings, ledger: Ledger) -> None:
    publish(kafka_settings, [event(n) for n in range(1_000, 1_010)])
    with_outcomes(ledger, "elsewhere", 0, 2)
    stop = threading.Event()
    metrics = CountingMetrics()
    role = threading.Thread(
        target=run_consume_role,
        args=(settings_for(kafka_settings),),
        kwargs={"ledger": ledger, "metrics": metrics, "clock": lambda: MOMENT, "stop": stop},
    )
    role.start()
    eventually(lambda: metrics.events["accepted"] == 10, "the events are taken")
    eventually(lambda: ledger.outbox.unsent(10) == [], "the outcomes are sent")
    stop.set()
    role.join(15)
    assert not role.is_alive()


def test_a_file_is_sent_as_it_stands_with_the_subject_as_key(
    kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    lines = [json.dumps(event(n)) for n in range(2_500)]
    path = tmp_path / "facts.jsonl"
    path.write_text("\n\n".join(lines))
    seen: list[SubmitProgress] = []

    report = submit_file(path, settings_for(kafka_settings), on_progress=seen.append)

    records = read_topic(kafka_settings, kafka_settings.topic, 2_500)
    assert (report.events, report.sent, report.invalid) == (2_500, 2_500, 0)
    assert [record.value.decode() for record in records] == lines
    assert records[7].key == b"Subject 7"
    assert {progress.stage for progress in seen} == {"checking", "sending"}
    assert seen[-1] == SubmitProgress("sending", path.stat().st_size, path.stat().st_size, 2_500)


def test_nothing_of_a_file_with_a_bad_line_is_sent_unless_told_so(
    kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    path = tmp_path / "facts.jsonl"
    long = json.dumps(event(3, rephrase_prompts=["x" * 2_000] * 30))
    bad = json.dumps(event(2, target_new=None))
    path.write_text("\n".join([json.dumps(event(0)), "{", bad, long, json.dumps(event(4))]))
    settings = settings_for(kafka_settings, max_value_bytes=4_096)

    with pytest.raises(SubmitRefused, match="3 of 5 lines") as refused:
        submit_file(path, settings)
    report = submit_file(path, settings, skip_invalid=True)

    faults = [(fault.line, fault.reason_code) for fault in refused.value.report.faults]
    assert faults == [(2, "not_json"), (3, "missing_field"), (4, "too_large")]
    assert (report.sent, report.invalid) == (2, 3)
    sent = [
        json.loads(record.value)["event_id"] for record in read_topic(kafka_settings, kafka_settings.topic, 2)
    ]
    assert sent == ["event-0", "event-4"]


def test_submitting_without_a_broker_or_a_file_says_so(tmp_path: Path) -> None:
    settings = settings_for(KafkaSettings(bootstrap_servers="127.0.0.1:1"))
    path = tmp_path / "facts.jsonl"
    path.write_text(json.dumps(event(0)))
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1"):
        submit_file(path, settings, timing=KafkaTiming(bootstrap_ms=500))
    with pytest.raises(SubmitRefused, match="cannot be read"):
        submit_file(tmp_path / "absent.jsonl", settings)


def test_a_missing_topic_that_may_not_be_created_is_named(
    bootstrap_servers: str, ledger: Ledger, tmp_path: Path
) -> None:
    kafka = fresh_kafka_settings(bootstrap_servers, create_topics=False)
    path = tmp_path / "facts.jsonl"
    path.write_text(json.dumps(event(0)))
    with pytest.raises(BrokerUnavailable, match="does not exist: create it"):
        submit_file(path, settings_for(kafka))
    assert ledger.intake.outcomes().get(RecordOutcome.ACCEPTED, 0) == 0
