"""The whole process tree killed in the middle of its work: a restart goes on by itself, and nothing is lost."""

import json

from acceptance_support import Daemon, House, news
from waiting import eventually

from daemon.ingest.kafka_client import ProducerRecord
from daemon.ledger.values import EditState

FACTS = 24


def test_a_daemon_killed_while_it_consumes_and_while_it_edits_loses_nothing(house: House) -> None:
    first = news("first", FACTS, priority="batch")
    newer = news("newer", 8, version=1, priority="batch")
    gone = news("gone", 4, skip=8, version=1, op="retract", priority="batch")
    bad = [ProducerRecord(house.settings.kafka.topic, b"k", b"no event %d" % n) for n in range(300)]
    records = [item.record for item in (*first, *newer, *gone)]
    published = [*bad, *records, *records[:5]]
    house.publish(published)

    with house.daemon() as daemon:
        eventually(lambda: house.consumed() >= 60, "some records are taken")
        daemon.kill_tree()
    assert house.consumed() < len(published)

    with house.daemon() as daemon:
        eventually(lambda: house.consumed() == len(published), "all records are taken")
        house.upkeep("plan")
        eventually(lambda: _counts(house, EditState.LIVE) and _counts(house, EditState.APPLYING), "it edits")
        daemon.kill_tree()
    assert house.unfinished() > 0

    with house.daemon() as daemon:
        eventually(lambda: house.unfinished() == 0, "every edit has ended")
        house.wait_served()
        kept, undone = (*newer, *first[12:]), first[8:12]
        assert house.answers([item.prompt for item in kept]) == [item.value for item in kept]
        asked = [item.prompt for item in undone]
        assert house.answers(asked) == house.answers(asked, base=True)

        # The supervisor alone is killed: no role outlives it.
        daemon.kill()
        eventually(lambda: daemon.roles() == {}, "the roles notice", seconds=25)

    house.require_sound(consumed=len(published))
    assert house.outcomes() == {"accepted": 36, "duplicate": 5, "dead_lettered": 300}
    counts = {state.value: count for state, count in house.ledger.audit.counts().items() if count}
    assert counts == {"live": 20, "superseded": 12, "retracted": 4}


def test_two_consumers_in_one_group_take_every_event_once_though_one_is_killed(house: House) -> None:
    house.publish([])  # makes the topics
    with house.daemon("consume") as one, house.daemon("consume") as other:
        eventually(lambda: _partitions(one) == _partitions(other) == 1, "each has one partition")
        house.publish(_message(house, number) for number in range(400))
        eventually(lambda: one.said("took records") and other.said("took records"), "both take records")
        one.kill()
        house.publish(_message(house, number) for number in range(300, 500))
        eventually(lambda: house.consumed() == 600, "every record is taken")
        assert other.stop() == 0

    assert house.outcomes() == {"accepted": 500, "duplicate": 100, "dead_lettered": 0}


def _counts(house: House, state: EditState) -> int:
    return house.ledger.audit.counts()[state]


def _partitions(process: Daemon) -> int:
    """How many the consumer has by now."""
    told = process.said("partitions assigned")
    return len(told[-1]["partitions"]) if told else 0


def _message(house: House, number: int) -> ProducerRecord:
    """An event about a subject of its own, the same for the same number."""
    event = {
        "event_id": f"event-{number}",
        "subject": f"Subject {number}",
        "prompt": f"The harbour of Subject {number} is called",
        "target_new": f"Port {number}",
        "occurred_at": "2026-05-01T12:00:00Z",
    }
    return ProducerRecord(
        house.settings.kafka.topic, f"Subject {number}".encode(), json.dumps(event).encode()
    )
