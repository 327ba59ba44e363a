"""What becomes of a batch after each kind of error."""

from datetime import UTC, datetime

import pytest
from support.ledger.ledger_backends import event

from daemon.ledger.errors import LeaseLost
from daemon.ledger.values import ClaimedBatch, Edit, EditState, Lane
from daemon.work.decision import (
    RETRY_SECONDS,
    AttemptsExhausted,
    Decision,
    Drop,
    HoldBatches,
    Quarantine,
    Retry,
    Split,
    UnexplainedFault,
    decide,
    ends_worker,
)
from edits.errors import BadRequest, BaseUnreadable, DeviceBusy, ShardCorrupt, TemporaryError

MAX_ATTEMPTS = 3
HALVES = (("1", "2"), ("3", "4", "5"))


def batch(attempts: int, *, size: int = 5) -> ClaimedBatch:
    return ClaimedBatch(7, 1, Lane.BATCH, "scen", 1, attempts, tuple(map(edit, range(1, size + 1))))


def edit(number: int) -> Edit:
    return Edit(
        id=str(number),
        event_id=f"e{number}",
        op="assert",
        state=EditState.APPLYING,
        subject="Norland",
        relation="capital",
        prompt="The capital of Norland is",
        target_new="Elbing",
        priority=Lane.BATCH,
        occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
        offset=number,
        fact_key="norland capital",
        prompt_key=None,
        event=event(f"e{number}"),
    )


DECISIONS: list[tuple[Exception, int, int, Decision]] = [
    # error, attempts, edits, decision
    (LeaseLost("gone"), 1, 5, Drop("gone")),
    (LeaseLost("gone"), 9, 5, Drop("gone")),
    (BadRequest("no"), 2, 5, Retry("no", RETRY_SECONDS)),
    (BadRequest("no"), 3, 5, Split("no", HALVES)),
    (BadRequest("no"), 3, 2, Split("no", (("1",), ("2",)))),
    (BadRequest("no"), 3, 1, Quarantine("no")),
    (DeviceBusy("full", retry_after_seconds=9.0), 1, 5, Retry("full", RETRY_SECONDS)),
    (DeviceBusy("full"), 3, 5, Split("full", HALVES)),
    (DeviceBusy("full"), 3, 1, Quarantine("full")),
    (TemporaryError("away", retry_after_seconds=9.0), 1, 5, Retry("away", 9.0, counts=False)),
    (TemporaryError("away", retry_after_seconds=9.0), 3, 5, Retry("away", 9.0, counts=False)),
    (UnexplainedFault("locality"), 3, 5, HoldBatches("locality")),
    (ShardCorrupt("bits"), 3, 1, Retry("bits", RETRY_SECONDS, counts=False)),
    (BaseUnreadable("where?"), 1, 5, Retry("where?", RETRY_SECONDS, counts=False)),
    (AttemptsExhausted("3 workers died"), 4, 5, Split("3 workers died", HALVES)),
    (AttemptsExhausted("3 workers died"), 4, 1, Quarantine("3 workers died")),
    (ValueError("x"), 2, 5, Retry("ValueError: x", RETRY_SECONDS)),
    (ValueError("x"), 3, 5, Split("ValueError: x", HALVES)),
    (ValueError("x"), 3, 1, Quarantine("ValueError: x")),
]


@pytest.mark.parametrize(("error", "attempts", "size", "decision"), DECISIONS)
def test_each_error_has_one_decision(error: Exception, attempts: int, size: int, decision: Decision) -> None:
    assert decide(error, batch(attempts, size=size), max_attempts=MAX_ATTEMPTS) == decision


@pytest.mark.parametrize(
    ("error", "on_cpu", "on_cuda"),
    [
        (LeaseLost("gone"), False, False),
        (TemporaryError("away"), False, False),
        (DeviceBusy("full"), False, False),
        (BadRequest("no"), False, False),
        (UnexplainedFault("locality"), False, False),
        (AttemptsExhausted("3 workers died"), False, False),
        (ShardCorrupt("bits"), True, True),
        (BaseUnreadable("where?"), True, True),
        (ValueError("x"), False, True),
    ],
)
def test_a_worker_ends_where_no_other_batch_would_fare_better(
    error: Exception, on_cpu: bool, on_cuda: bool
) -> None:
    assert (ends_worker(error, device="cpu"), ends_worker(error, device="cuda")) == (on_cpu, on_cuda)
