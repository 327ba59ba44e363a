"""Batches that a check holds: none is claimed until somebody has looked and says `upkeep release`."""

from daemon.ledger import Ledger

ACTOR = "regression check"
_PREFIX = "somebody has to look: "


def hold(ledger: Ledger, reason: str) -> None:
    """Let no batch be claimed until somebody has looked."""
    ledger.control.hold(_PREFIX + reason, actor=ACTOR)


def is_held_by_checks(ledger: Ledger) -> bool:
    """Whether a check holds the batches, and nobody has acknowledged that yet."""
    return any(one.reason.startswith(_PREFIX) for one in ledger.control.holds())
