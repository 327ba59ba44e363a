"""What becomes of a batch after an error: one pure decision, which the worker's loop only carries out."""

from dataclasses import dataclass

from daemon.ledger.errors import LeaseLost
from daemon.ledger.values import ClaimedBatch
from edits.errors import BadRequest, DeviceBusy, PermanentError, TemporaryError
from edits.ids import EditId

RETRY_SECONDS = 5.0


class UnexplainedFault(PermanentError):
    """A floor is missed though no edit of the batch is the cause: what is live, or the device, needs a look."""


class AttemptsExhausted(PermanentError):
    """The batch was claimed more often than is allowed, and no worker has ended it."""


@dataclass(frozen=True, slots=True)
class Retry:
    """The batch waits for `delay_seconds`. An attempt counts only where the batch itself may be at fault."""

    reason: str
    delay_seconds: float = RETRY_SECONDS
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Split:
    """Each part, edit ids in their order, becomes a batch of its own, so that one bad edit costs no other."""

    reason: str
    parts: tuple[tuple[EditId, ...], ...]


@dataclass(frozen=True, slots=True)
class Quarantine:
    """The one edit that is left alone is given up until somebody retries it."""

    reason: str


@dataclass(frozen=True, slots=True)
class HoldBatches:
    """No batch is claimed until somebody has looked; this one waits, and its attempt does not count."""

    reason: str


@dataclass(frozen=True, slots=True)
class Drop:
    """Another worker has the batch: nothing of it is changed."""

    reason: str


Decision = Retry | Split | Quarantine | HoldBatches | Drop


def decide(error: Exception, batch: ClaimedBatch, *, max_attempts: int) -> Decision:
    """What to do about a batch that failed; `max_attempts` bounds the attempts that count."""
    match error:
        case LeaseLost():
            return Drop(str(error))
        case BadRequest() | DeviceBusy():  # may be the batch's own fault: too much of it, or one bad edit
            return _retry_or_give_up(str(error), batch, max_attempts)
        case AttemptsExhausted():
            return _give_up(str(error), batch)
        case TemporaryError():
            return Retry(str(error), error.retry_after_seconds, counts=False)
        case UnexplainedFault():  # not this batch's doing, and nothing should be published on top of it
            return HoldBatches(str(error))
        case PermanentError():  # the base, the store or the settings: no other batch would fare better
            return Retry(str(error), counts=False)
        case _:
            return _retry_or_give_up(f"{type(error).__name__}: {error}", batch, max_attempts)


def ends_worker(error: Exception, *, device: str) -> bool:
    """Whether the process must end after it: it could do no other batch, and a supervisor starts a fresh one.

    An unknown error on a GPU may be a failed kernel, which spoils the whole process.
    """
    if isinstance(error, PermanentError):
        return not isinstance(error, BadRequest | UnexplainedFault | AttemptsExhausted)
    return device == "cuda" and not isinstance(error, TemporaryError)


def _retry_or_give_up(reason: str, batch: ClaimedBatch, max_attempts: int) -> Decision:
    return Retry(reason) if batch.attempts < max_attempts else _give_up(reason, batch)


def _give_up(reason: str, batch: ClaimedBatch) -> Decision:
    """Halves of a batch, until the edit that cannot be worked with is alone."""
    ids = tuple(edit.id for edit in batch.edits)
    if len(ids) == 1:
        return Quarantine(reason)
    middle = len(ids) // 2
    return Split(reason, (ids[:middle], ids[middle:]))
