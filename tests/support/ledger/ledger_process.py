"""A process of its own on a ledger: `python -m support.ledger.ledger_process intake|work|hang URL NAME`."""

import sys
import time

from support.ledger.ledger_backends import database_of, event, record

from daemon.ledger import Ledger, open_ledger
from daemon.ledger.errors import HeadMoved, LeaseLost
from daemon.ledger.values import EditState

FACTS = 30
VALUES = 4
RECORDS = FACTS * VALUES
LEASE_SECONDS = 1.0


def intake(ledger: Ledger) -> None:
    """Deliver every record, in small transactions."""
    records = [
        record(event(f"e{n}", f"Land {n % FACTS}", f"Town {n}", day=(n * 7) % 30), n) for n in range(RECORDS)
    ]
    for start in range(0, RECORDS, 20):
        ledger.intake.record(records[start : start + 20])


def work(ledger: Ledger, name: str) -> None:
    """Claim and publish until nothing is open; a lost lease is somebody else's batch."""
    while ledger.intake.backlog() or _applying(ledger):
        batch = ledger.batches.claim(name, lease_seconds=LEASE_SECONDS)
        if batch is None:
            time.sleep(0.05)
            continue
        print("claimed", batch.id, flush=True)
        published = False
        while not published:
            head = ledger.generations.head()
            assert head is not None
            try:
                ledger.generations.publish(
                    batch=batch,
                    expected_head=head.number,
                    live={edit.id: f"{name}-{batch.id}-{batch.token}" for edit in batch.edits},
                    rejected={},
                    scores={},
                    cause=name,
                )
                published = True
            except HeadMoved:
                ledger.batches.heartbeat(batch.id, batch.token, lease_seconds=LEASE_SECONDS)
            except LeaseLost:
                break


def hang(ledger: Ledger, name: str) -> None:
    """Claim a batch, open a transaction that changes everything, and never finish it."""
    batch = ledger.batches.claim(name, lease_seconds=LEASE_SECONDS)
    assert batch is not None
    with database_of(ledger).write() as connection:
        connection.exec_driver_sql("UPDATE edits SET reason = 'half done', attempts = 99")
        connection.exec_driver_sql("DELETE FROM history")
        print("claimed", batch.id, flush=True)
        time.sleep(600)


def _applying(ledger: Ledger) -> int:
    return ledger.audit.counts()[EditState.APPLYING]


if __name__ == "__main__":
    role, url, name = sys.argv[1:]
    with open_ledger(url) as opened:
        opened.migrate()
        if role == "intake":
            intake(opened)
        else:
            {"work": work, "hang": hang}[role](opened, name)
