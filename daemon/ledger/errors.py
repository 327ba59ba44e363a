"""What can go wrong with the ledger, by name.

TemporaryError
+-- LedgerUnavailable   locked, full, or not reachable for now
+-- LeaseLost           somebody else has the work: drop it, change nothing
+-- HeadMoved           another generation was published first: verify against it, then publish again
+-- RollbackUnfinished  a rollback of many edits is still being written down: come again in a moment
PermanentError
+-- LedgerMissing       nobody has begun it
+-- LedgerTooNew        written by a later release of Upkeep
+-- LedgerUnreadable    not a ledger, damaged, or an address that no ledger can have
+-- BaseChanged         the ledger's generations belong to another base model
+-- ForbiddenMove       an edit cannot go from the state it is in to the one asked for
+-- NotInLedger         no edit, plan or generation with this number
"""

from edits.errors import PermanentError, TemporaryError


class LedgerUnavailable(TemporaryError):
    """The database is locked, full or out of reach; nothing of the transaction was kept."""


class LeaseLost(TemporaryError):
    """The lease ran out and the work went to somebody else, or is done: the caller drops it."""


class HeadMoved(TemporaryError):
    """The head is not the generation that the candidate was verified against."""


class RollbackUnfinished(TemporaryError):
    """The head answers as an earlier generation did, but what that changes is not all written down yet."""


class LedgerMissing(PermanentError):
    """There is no ledger where the settings say: a command that asks or changes one begins none."""


class LedgerTooNew(PermanentError):
    """A later release has migrated this ledger; this one would damage it."""


class LedgerUnreadable(PermanentError):
    """The file is not a ledger or is damaged, or the address names no database Upkeep can use."""


class BaseChanged(PermanentError):
    """The base model is not the one that the ledger's generations were made for."""


class ForbiddenMove(PermanentError):
    """The edit is not in a state from which it can go where it was asked to go."""


class NotInLedger(PermanentError, LookupError):
    """The ledger has nothing under this number."""
