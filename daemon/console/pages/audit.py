"""Audit: who did what by hand, and why."""

from daemon.console.web.visits import Page, PageRoute, Visit, address
from daemon.ledger import Ledger
from daemon.operations import queries

PER_PAGE = 50


class AuditPages:
    """Asks `daemon.operations`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def routes(self) -> list[PageRoute]:
        """Every page of this part."""
        return [PageRoute("/audit", self.log)]

    def log(self, visit: Visit) -> Page:
        """The newest entries, of everybody or of one person."""
        before, actor, action = visit.asked_number("before"), visit.asked("actor"), visit.asked("action")
        found = queries.audit(
            self._ledger, before=before, actor=actor or None, action=action or None, limit=PER_PAGE
        )
        values = {
            "entries": found.entries,
            "actor": actor,
            "action": action,
            "first": address("/audit", actor=actor, action=action) if before else None,
            "next": address("/audit", actor=actor, action=action, before=found.next) if found.next else None,
        }
        return Page("audit.html", values)
