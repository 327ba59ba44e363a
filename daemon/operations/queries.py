"""What changed, which fact, why, and what holds the work: reads only.

The values are `daemon.ledger.values`: `GenerationPage`, `Difference`, `FoundFacts`, `FactPage`, `Hold`, `AuditPage`. Each
page has a `next`, to be given to the same query for the page behind it (None: that was all).
"""

from datetime import datetime

from daemon.ledger import Ledger
from daemon.ledger.page_values import AuditPage, Difference, FactPage, FactQuery, FoundFacts, GenerationPage
from daemon.ledger.values import Hold
from edits.ids import EditId

PAGE = 50


def generations(
    ledger: Ledger, *, before: int | None = None, since: datetime | None = None, limit: int = PAGE
) -> GenerationPage:
    """What was published, the newest first: when, by whom or what, how many facts went on and off, scores and checks."""
    return ledger.timeline.page(before=before, since=since, limit=limit)


def difference(ledger: Ledger, a: int, b: int, *, cursor: str | None = None, limit: int = PAGE) -> Difference:
    """Each fact that is answered differently by generation `b` than by `a`: the old answer and the new one.

    Raises:
        NotInLedger: one of the two was never published.
        BadRequest: the cursor is none of this list's.
    """
    return ledger.timeline.difference(a, b, cursor=cursor, limit=limit)


def find_facts(
    ledger: Ledger, query: FactQuery, *, cursor: str | None = None, limit: int = PAGE
) -> FoundFacts:
    """The edits that meet everything the query names, the newest first.

    Raises:
        BadRequest: the cursor is none of this list's, or a text to look for has no word.
    """
    return ledger.search.find(query, cursor=cursor, limit=limit)


def fact_page(ledger: Ledger, edit_id: EditId) -> FactPage:
    """Everything about one edit: its fact's value now and before, events, batch, generations, checks, and why.

    Raises:
        NotInLedger: there is no such edit.
    """
    return ledger.fact_pages.page(edit_id)


def holds(ledger: Ledger) -> list[Hold]:
    """Every reason why no batch may be claimed, with who gave it; the oldest first."""
    return ledger.control.holds()


def audit(
    ledger: Ledger,
    *,
    before: int | None = None,
    since: datetime | None = None,
    actor: str | None = None,
    action: str | None = None,
    limit: int = PAGE,
) -> AuditPage:
    """What people did, the newest first."""
    return ledger.audit_log.page(before=before, since=since, actor=actor, action=action, limit=limit)
