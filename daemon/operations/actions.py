"""What people do to the ledger: each action with a preview that computes the same, a reason, and an entry in the audit log.

Every action may raise:
    BadRequest: no reason was given, or it is too long.
    NotInLedger: there is no such edit, generation or hold.
    ForbiddenMove: what was asked for is not possible in the state that things are in.
    HeadMoved: another generation was published since `Act.expected_head`, which a preview gave.
"""

import getpass
import os

from daemon.ledger import Ledger
from daemon.ledger.page_values import Preview
from daemon.ledger.values import Act, Generation, Hold
from edits.errors import BadRequest
from edits.ids import EditId

MAX_REASON_CHARS = 500


def person() -> str:
    """Who runs this process, as the audit log names them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        return f"uid {os.getuid()}"


def preview_rollback(ledger: Ledger, to: int) -> Preview:
    """What `rollback` would switch off and on, and what stays off because it was taken back by hand."""
    return ledger.reversals.preview_rollback(to)


def rollback(ledger: Ledger, to: int, act: Act) -> Generation:
    """Publish a generation that answers as `to` did; the head itself where nothing differs."""
    return ledger.reversals.rollback(to, with_reason(act))


def preview_undo_generation(ledger: Ledger, number: int) -> Preview:
    """What `undo_generation` would change."""
    return ledger.reversals.preview_undo_generation(number)


def undo_generation(ledger: Ledger, number: int, act: Act) -> Generation:
    """Take back what one generation did, as far as it still stands."""
    return ledger.reversals.undo_generation(number, with_reason(act))


def preview_undo_fact(ledger: Ledger, edit_id: EditId, *, restore_previous: bool = False) -> Preview:
    """What `undo_fact` would change."""
    return ledger.reversals.preview_undo_fact(edit_id, restore_previous=restore_previous)


def undo_fact(ledger: Ledger, edit_id: EditId, act: Act, *, restore_previous: bool = False) -> Generation:
    """Take one live edit back for good; the fact's earlier value comes back where that is asked for."""
    return ledger.reversals.undo_fact(edit_id, with_reason(act), restore_previous=restore_previous)


def retry(ledger: Ledger, edit_id: EditId, act: Act) -> None:
    """Let one rejected or quarantined edit try again."""
    act = with_reason(act)
    ledger.control.retry(edit_id, cause=f"retry: {act.reason}", act=act)


def retry_quarantined(ledger: Ledger, act: Act) -> list[EditId]:
    """Let every quarantined edit try again; their ids."""
    act = with_reason(act)
    return ledger.control.retry_quarantined(cause=f"retry: {act.reason}", act=act)


def hold(ledger: Ledger, act: Act) -> int | None:
    """Let nobody claim a batch; the hold's number, or None where the same person holds for the same reason already."""
    act = with_reason(act)
    return ledger.control.hold(act.reason, actor=act.actor)


def release(ledger: Ledger, act: Act, *, hold_id: int | None = None) -> list[Hold]:
    """End one hold, or all of them; those that were ended. A reason is welcome, but not asked for."""
    return ledger.control.release(actor=act.actor, reason=act.reason.strip(), hold_id=hold_id)


def approve_plan(ledger: Ledger, proposal_id: int, act: Act) -> int:
    """Put a plan that waits for a person to work; the plan's number."""
    return ledger.proposals.approve(proposal_id, with_reason(act))


def decline_plan(ledger: Ledger, proposal_id: int, act: Act) -> None:
    """Leave the edits of a plan that waits pending: the next nightly run drafts them anew."""
    ledger.proposals.decline(proposal_id, with_reason(act))


def with_reason(act: Act) -> Act:
    """The act, its reason tidied; BadRequest where there is none, or a very long one."""
    reason = " ".join(act.reason.split())
    if not reason:
        raise BadRequest("say why: the reason stands in the audit log")
    if len(reason) > MAX_REASON_CHARS:
        raise BadRequest(f"the reason may have {MAX_REASON_CHARS} characters")
    return Act(act.actor, reason, act.expected_head)
