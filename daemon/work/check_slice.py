"""One slice of the oldest check, under a lease: what a worker does between batches."""

import time
from collections.abc import Callable, Collection
from contextlib import suppress

import structlog

from daemon.checks.claimed_check import work_on_check
from daemon.ledger import Ledger, utc_now
from daemon.ledger.errors import LeaseLost
from daemon.ledger.values import CheckKind, ClaimedCheck
from daemon.served_model import ServedModel
from daemon.settings.settings import Settings
from daemon.work.lease import keep_alive
from edits.errors import DeviceBusy, TemporaryError

_log = structlog.get_logger(__name__)


def work_on_next_check(
    ledger: Ledger,
    settings: Settings,
    model: ServedModel,
    *,
    worker: str,
    kinds: Collection[CheckKind],
    follow_head: Callable[[], None],
) -> bool:
    """Work on the oldest check of these kinds for `monitoring.slice_seconds`; False: there is none.

    Args:
        follow_head: takes over what was published. It is called once the check is claimed: a check that was asked for
            because of a generation must see that one, published since the worker last looked or not.

    Raises:
        TemporaryError: the ledger or the store is unwell; the check was released, and its attempt does not count.
    """
    claimed = ledger.checks.claim(worker, lease_seconds=settings.worker.lease_seconds, kinds=kinds)
    if claimed is None:
        return False
    try:
        _work_on(ledger, settings, model, claimed, follow_head)
    except LeaseLost as error:
        _log.warning("check taken over by another worker", reason=str(error))
    except DeviceBusy:
        # This may be the check's own fault: the lease runs out, the attempt counts, batches have their turn.
        _log.exception("check failed")
    except TemporaryError as error:
        with suppress(TemporaryError):  # the ledger may be what is unwell; then the lease runs out
            ledger.checks.release(claimed.id, claimed.token, delay_seconds=error.retry_after_seconds)
        raise
    except Exception as error:
        # A check that cannot be run must not be claimed for ever, before all that waits behind it.
        _log.exception("check failed")
        with suppress(LeaseLost):
            ledger.checks.fail(claimed.id, claimed.token, f"{type(error).__name__}: {error}")
    return True


def _work_on(
    ledger: Ledger,
    settings: Settings,
    model: ServedModel,
    claimed: ClaimedCheck,
    follow_head: Callable[[], None],
) -> None:
    lease = settings.worker.lease_seconds

    def beat() -> None:
        ledger.checks.heartbeat(claimed.id, claimed.token, lease_seconds=lease)

    with keep_alive(beat, every_seconds=lease / 3):
        follow_head()
        until = time.monotonic() + settings.monitoring.slice_seconds
        _, outcome = work_on_check(
            ledger, settings, model, claimed, clock=utc_now, time_is_up=lambda: time.monotonic() > until
        )
    if outcome != "paused":
        _log.info("regression checked", generation=model.generation, kind=claimed.kind.value, outcome=outcome)
