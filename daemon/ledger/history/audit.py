"""Answer why the model says what it says: every edit, where it stands, and how it came there."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select

from daemon.ledger.queue.intake import name_key
from daemon.ledger.store.database import Database
from daemon.ledger.store.rows import chunks, edit_of, select_edits, to_edit
from daemon.ledger.store.schema import edit_names, edits, history, tallies
from daemon.ledger.store.transitions import ROLLBACKS
from daemon.ledger.values import Edit, EditState, HistoryEntry
from edits.ids import EditId
from edits.recency import arrival

# What earlier releases called a blame's verdicts: a history is never written anew.
_EARLIER_VERDICTS = {"innocent": "cleared", "culprit": "offending"}


class Audit:
    """Reads only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def facts(
        self, subject: str | None = None, state: EditState | None = None, limit: int = 100, offset: int = 0
    ) -> list[Edit]:
        """Edits by id; those of one subject, by its name or an alias in any case, or in one state."""
        query = select_edits()
        if subject is not None:
            query = query.join(edit_names, edit_names.c.edit_id == edits.c.id)
            query = query.where(edit_names.c.name_key == name_key(subject))
        if state is not None:
            query = query.where(edits.c.state == state.value)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(edits.c.id).limit(limit).offset(offset))
            return [to_edit(row) for row in rows]

    def edit(self, edit_id: EditId) -> Edit:
        """One edit.

        Raises:
            NotInLedger: there is no such edit.
        """
        with self._database.read() as connection:
            return edit_of(connection, edit_id)

    def edits(self, edit_ids: Sequence[EditId]) -> list[Edit]:
        """Several edits, by id; an unknown one is left out."""
        found: list[Edit] = []
        with self._database.read() as connection:
            for part in chunks(set(edit_ids)):
                found += [
                    to_edit(row) for row in connection.execute(select_edits().where(edits.c.id.in_(part)))
                ]
        return sorted(found, key=lambda edit: arrival(edit.id))

    def history(self, edit_id: EditId) -> list[HistoryEntry]:
        """Every move of one edit, the first one first; empty for an unknown edit."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(history).where(history.c.edit_id == edit_id).order_by(history.c.id)
            ).all()
        return [
            HistoryEntry(
                edit_id=row.edit_id,
                at=row.at,
                from_state=EditState(row.from_state) if row.from_state is not None else None,
                to_state=EditState(row.to_state),
                cause=row.cause,
                detail=_in_todays_words(row.detail),
            )
            for row in rows
        ]

    def accepted_at(self, ids: Sequence[EditId]) -> dict[EditId, datetime]:
        """When the ledger accepted each of these edits; an unknown one is left out."""
        found: dict[EditId, datetime] = {}
        with self._database.read() as connection:
            for part in chunks(ids):
                query = select(history.c.edit_id, history.c.at).where(
                    history.c.edit_id.in_(part), history.c.from_state.is_(None)
                )
                found.update((row.edit_id, row.at) for row in connection.execute(query))
        return found

    def counts(self) -> dict[EditState, int]:
        """How many edits stand in each state, the empty states too; costs the same however many there are."""
        found = self._tallies()
        return {state: found[state.value] for state in EditState}

    def rollbacks(self) -> int:
        """How many generations were published to take something back."""
        return self._tallies()[ROLLBACKS]

    def _tallies(self) -> dict[str, int]:
        with self._database.read() as connection:
            return {row.name: int(row.value) for row in connection.execute(select(tallies))}


def _in_todays_words(detail: Mapping[str, Any]) -> Mapping[str, Any]:
    """A move's detail, with the verdict of a blame as this release calls it."""
    blame = detail.get("blame", {})
    if (verdict := _EARLIER_VERDICTS.get(blame.get("verdict"))) is None:
        return detail
    return {**detail, "blame": {**blame, "verdict": verdict}}
