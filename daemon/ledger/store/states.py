"""The states of an edit and the moves between them; the ledger knows no other move."""

from collections.abc import Mapping

from daemon.ledger.errors import ForbiddenMove
from daemon.ledger.values import EditState
from edits.ids import EditId

_S = EditState

ALLOWED: Mapping[EditState | None, frozenset[EditState]] = {
    None: frozenset({_S.PENDING}),
    _S.PENDING: frozenset({_S.PLANNED, _S.SUPERSEDED, _S.RETRACTED}),
    _S.PLANNED: frozenset({_S.APPLYING, _S.SUPERSEDED, _S.RETRACTED}),
    _S.APPLYING: frozenset({_S.PLANNED, _S.LIVE, _S.SUPERSEDED, _S.RETRACTED, _S.REJECTED, _S.QUARANTINED}),
    # A regression check can put the blame on a live edit, or on one that a rollback has taken back already.
    _S.LIVE: frozenset({_S.SUPERSEDED, _S.RETRACTED, _S.QUARANTINED}),
    # A rollback can bring back what was live before.
    _S.SUPERSEDED: frozenset({_S.LIVE}),
    _S.RETRACTED: frozenset({_S.LIVE, _S.QUARANTINED}),
    # An operator lets an edit try again that failed.
    _S.REJECTED: frozenset({_S.PENDING}),
    _S.QUARANTINED: frozenset({_S.PENDING}),
}

OUTCOMES = frozenset({_S.LIVE, _S.SUPERSEDED, _S.RETRACTED, _S.REJECTED, _S.QUARANTINED})
"""Reaching one of these is news for the event's producer: it goes to the outbox."""


def require_allowed(edit_id: EditId, before: EditState | None, after: EditState) -> None:
    """Let an allowed move pass.

    Raises:
        ForbiddenMove: the move is not in `ALLOWED`.
    """
    if after not in ALLOWED[before]:
        was = before.value if before is not None else "nothing"
        raise ForbiddenMove(f"edit {edit_id} is {was}: it cannot become {after.value}")
