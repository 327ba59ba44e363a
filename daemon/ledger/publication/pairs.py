"""Which edit's answer took the place of which: edits that leave the live set beside those that enter it."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from sqlalchemy import Connection, select

from daemon.ledger.page_values import FactChange, FactValue
from daemon.ledger.store.rows import Standing, chunks
from daemon.ledger.store.schema import edits
from edits.ids import EditId
from edits.recency import newest_first, rival_keys

Pair = tuple[Standing | None, Standing | None]


def pairs(
    off: Sequence[Standing], on: Sequence[Standing], winners: Mapping[EditId, EditId] | None = None
) -> list[Pair]:
    """Every edit of `off` and `on` once, beside the newest rival on the other side; None: the base answers there.

    Args:
        winners: for edits of `off`, the one of `on` that took their place though they share no key.
    """
    places: dict[tuple[str, str], Standing] = {}
    by_id = {edit.id: edit for edit in on}
    for edit in on:
        places |= dict.fromkeys(rival_keys(edit), edit)
    beside: dict[EditId, list[Standing]] = {}
    alone: list[Pair] = []
    for edit in off:
        named = by_id.get((winners or {}).get(edit.id, ""))
        winner = named or next((places[key] for key in rival_keys(edit) if key in places), None)
        if winner is None:
            alone.append((edit, None))
        else:
            beside.setdefault(winner.id, []).append(edit)
    found: list[Pair] = []
    for edit in on:
        old = newest_first(beside.get(edit.id, ()))
        found += [(one, edit) for one in old] or [(None, edit)]
    return found + alone


def fact_changes(connection: Connection, found: Iterable[Pair]) -> tuple[FactChange, ...]:
    """The pairs as people read them."""
    listed = list(found)
    ids = {edit.id for edit in chain.from_iterable(listed) if edit is not None}
    texts: dict[EditId, Any] = {}
    for part in chunks(ids):
        query = select(
            edits.c.id,
            edits.c.event_id,
            edits.c.subject,
            edits.c.relation,
            edits.c.prompt,
            edits.c.target_new,
        ).where(edits.c.id.in_(part))
        texts.update((row.id, row) for row in connection.execute(query))

    def value(edit: Standing | None) -> FactValue | None:
        return None if edit is None else FactValue(edit.id, edit.event_id, texts[edit.id].target_new or "")

    changes = []
    for old, new in listed:
        shown = new or old
        if shown is not None:
            row = texts[shown.id]
            changes.append(FactChange(row.subject, row.relation, row.prompt, value(old), value(new)))
    return tuple(changes)
