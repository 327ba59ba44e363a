"""The whole process tree killed in the middle of its work: a restart goes on by itself, and nothing is lost."""

import json

from support.acceptance_support import Daemon, Site, news
from support.waiting import eventually

from daemon.ingest.kafka_client import ProducerRecord
from daemon.ledger.values import EditState
from demo.stream.records import StreamRecord

FACTS = 24


def test_a_daemon_killed_while_it_consumes_and_while_it_edits_loses_nothing(site: Site) -> None:
    first = news("first", FACTS, priority="batch")
    newer = news("newer", 8, version=1, priority="batch")
    gone = news("gone", 4, skip=8, version=1, op="retract", priority="batch")
    bad = [ProducerRecord(site.settings.kafka.topic, b"k", b"no event %d" % n) for n in range(300)]
    records = [item.record for item in (*first, *newer, *gone)]
    published: list[StreamRecord | ProducerRecord] = [*bad, *records, *records[:5]]
    site.publish(published)

    with site.daemon() as daemon:
        eventually(lambda: site.consumed() >= 60, "some records are taken")
        daemon.kill_tree()
    assert site.consumed() < len(published)

    with site.daemon() as daemon:
        eventually(lambda: site.consumed() == len(published), "all records are taken")
        site.upkeep("plan")
        eventually(lambda: _counts(site, EditState.LIVE) and _counts(site, EditState.APPLYING), "it edits")
        daemon.kill_tree()
    assert site.unfinished() > 0

    with site.daemon() as daemon:
        eventually(lambda: site.unfinished() == 0, "every edit has ended")
        site.wait_served()
        kept, undone = (*newer, *first[12:]), first[8:12]
        assert site.answers([item.prompt for item in kept]) == [item.value for item in kept]
        asked = [item.prompt for item in undone]
        assert site.answers(asked) == site.answers(asked, base=True)

        # The supervisor alone is killed: no role outlives it.
        daemon.kill()
        eventually(lambda: daemon.roles() == {}, "the roles notice", seconds=25)

    site.require_sound(consumed=len(published))
    assert site.outcomes() == {"accepted": 36, "duplicate": 5, "dead_lettered": 300}
    counts = {state.value: count for state, count in site.ledger.audit.counts().items() if count}
    assert counts == {"live": 20, "superseded": 12, "retracted": 4}


def test_two_consumers_in_one_group_take_every_event_once_though_one_is_killed(site: Site) -> None:
    site.publish([])  # makes the topics
    with site.daemon("consume") as one, site.daemon("consume") as other:
        eventually(lambda: _partitions(one) == _partitions(other) == 1, "each has one partition")
        site.publish(_message(site, number) for number in range(400))
        eventually(lambda: one.logged("took records") and other.logged("took records"), "both take records")
        one.kill()
        site.publish(_message(site, number) for number in range(300, 500))
        eventually(lambda: site.consumed() == 600, "every record is taken")
        assert other.stop() == 0

    assert site.outcomes() == {"accepted": 500, "duplicate": 100, "dead_lettered": 0}


def _counts(site: Site, state: EditState) -> int:
    return site.ledger.audit.counts()[state]


def _partitions(process: Daemon) -> int:
    """How many the consumer has by now."""
    reported = process.logged("partitions assigned")
    return len(reported[-1]["partitions"]) if reported else 0


def _message(site: Site, number: int) -> ProducerRecord:
    """An event about a subject of its own, the same for the same number."""
    event = {
        "event_id": f"event-{number}",
        "subject": f"Subject {number}",
        "prompt": f"The harbour of Subject {number} is called",
        "target_new": f"Port {number}",
        "occurred_at": "2026-05-01T12:00:00Z",
    }
    return ProducerRecord(site.settings.kafka.topic, f"Subject {number}".encode(), json.dumps(event).encode())
