"""Audit: who did what by hand, and why."""

from daemon.console.visits import Page, PageRoute, Visit, address
from daemon.ledger import Ledger

PER_PAGE = 50


class AuditPages:
    """Reads `ledger.audit_log`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def routes(self) -> list[PageRoute]:
        """Every page of this part."""
        return [PageRoute("/audit", self.log)]

    def log(self, visit: Visit) -> Page:
        """The newest entries, of everybody or of one person."""
        before, actor, action = visit.asked_number("before"), visit.asked("actor"), visit.asked("action")
        entries = self._ledger.audit_log.page(
            before=before, actor=actor or None, action=action or None, limit=PER_PAGE + 1
        )
        more, entries = len(entries) > PER_PAGE, entries[:PER_PAGE]
        values = {
            "entries": entries,
            "actor": actor,
            "action": action,
            "first": address("/audit", actor=actor, action=action) if before else None,
            "next": address("/audit", actor=actor, action=action, before=entries[-1].id) if more else None,
        }
        return Page("audit.html", values)
