"""What people did to the ledger, and why: rows are added, never changed and never deleted."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from daemon.ledger.page_values import MAX_LISTED, AuditPage
from daemon.ledger.store.database import Database
from daemon.ledger.store.rows import clip
from daemon.ledger.store.schema import audit_log
from daemon.ledger.store.schema.columns import REASON_CHARS, WORKER_CHARS
from daemon.ledger.values import Act, AuditEntry


class AuditLog:
    """The log's front door; actions of the ledger itself write to it in their own transaction."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def write(self, act: Act, action: str, target: Mapping[str, Any], changed: Mapping[str, Any]) -> None:
        """Keep what was done outside the ledger, such as a dead letter that was sent again."""
        with self._database.write() as connection:
            record_act(connection, act, action, target=target, changed=changed, at=self._clock())

    def page(
        self,
        *,
        before: int | None = None,
        since: datetime | None = None,
        actor: str | None = None,
        action: str | None = None,
        limit: int = 50,
    ) -> AuditPage:
        """The newest entries, older than the entry `before`; those of one person, or of one action."""
        query = select(audit_log)
        if before is not None:
            query = query.where(audit_log.c.id < before)
        if since is not None:
            query = query.where(audit_log.c.at >= since)
        if actor is not None:
            query = query.where(audit_log.c.actor == actor)
        if action is not None:
            query = query.where(audit_log.c.action == action)
        limit = max(1, min(limit, MAX_LISTED))
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(audit_log.c.id.desc()).limit(limit + 1)).all()
        entries = [AuditEntry(r.id, r.at, r.actor, r.action, r.reason, r.target, r.changed) for r in rows]
        page = tuple(entries[:limit])
        return AuditPage(page, page[-1].id if len(entries) > limit else None)


def record_act(
    connection: Connection,
    act: Act,
    action: str,
    *,
    target: Mapping[str, Any],
    changed: Mapping[str, Any],
    at: datetime,
) -> None:
    """Add one entry, in the transaction of what it tells of."""
    connection.execute(
        insert(audit_log).values(
            at=at,
            actor=clip(act.actor, WORKER_CHARS),
            action=action,
            reason=clip(act.reason, REASON_CHARS),
            target=dict(target),
            changed=dict(changed),
        )
    )
