"""Edits drawn at random or page by page: what a check asks must not grow with the ledger."""

import random
from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, TextClause, and_, case, func, select

from daemon.ledger.store.database import Database
from daemon.ledger.store.rows import CHUNK, chunks, select_edits, to_edit
from daemon.ledger.store.schema import edits, generations
from daemon.ledger.store.schema.conditions import IS_LIVE
from daemon.ledger.values import Edit, EditState
from edits.ids import EditId
from edits.recency import by_arrival

# Draws of so many ids, before a rare kind of edit is looked for by reading its ids.
MAX_DRAWS = 40

_Condition = ColumnElement[bool] | TextClause


class Samples:
    """Reads only."""

    def __init__(self, database: Database, *, draw_size: int = CHUNK, max_draws: int = MAX_DRAWS) -> None:
        self._database = database
        self._draw_size, self._max_draws = draw_size, max_draws

    def live(self, count: int, *, seed: int, since: int = 0) -> list[Edit]:
        """Up to `count` live edits that went live in generation `since` or later, each with the same chance."""
        conditions: list[_Condition] = [IS_LIVE]
        if since:
            conditions.append(edits.c.generation >= since)
        return self._draw(conditions, count, seed)

    def asserted(self, states: Collection[EditState], count: int, *, seed: int) -> list[Edit]:
        """Up to `count` assertions in one of these states, each with the same chance."""
        wanted = edits.c.state.in_(sorted(state.value for state in states))
        return self._draw([wanted, edits.c.op == "assert"], count, seed)

    def live_page(self, after: EditId, count: int) -> list[Edit]:
        """The next `count` live edits after an id, by id."""
        with self._database.read() as connection:
            query = select_edits().where(IS_LIVE, edits.c.id > after).order_by(edits.c.id).limit(count)
            return [to_edit(row) for row in connection.execute(query)]

    def live_facts(self, keys: Collection[str]) -> set[str]:
        """Those of the given fact keys that some live edit has."""
        found: set[str] = set()
        with self._database.read() as connection:
            for part in chunks(sorted(keys)):
                query = select(edits.c.fact_key).where(IS_LIVE, edits.c.fact_key.in_(part))
                found.update(connection.execute(query).scalars())
        return found

    def older_values(self, members: Sequence[Edit]) -> dict[EditId, tuple[str, ...]]:
        """Edit id -> the values that its fact had before, where they differ from its own."""
        by_key: dict[str, set[str]] = {}
        with self._database.read() as connection:
            for part in chunks(sorted({member.fact_key for member in members})):
                query = select(edits.c.fact_key, edits.c.target_new).where(
                    edits.c.fact_key.in_(part),
                    edits.c.state == EditState.SUPERSEDED.value,
                    edits.c.shard.is_not(None),  # it has been live
                )
                for key, value in connection.execute(query):
                    by_key.setdefault(key, set()).add(value)
        found = {}
        for member in members:
            older = by_key.get(member.fact_key, set()) - {member.target_new or ""}
            if older:
                found[member.id] = tuple(sorted(older))
        return found

    def first_after(self, moment: datetime) -> int | None:
        """The first generation published at `moment` or later; None where there is none."""
        with self._database.read() as connection:
            newest = connection.execute(select(func.max(generations.c.number))).scalar_one()
            if newest is None or _published(connection, newest) < moment:
                return None
            low, high = 0, int(newest)  # generations are published one after the other
            while low < high:
                middle = (low + high) // 2
                if _published(connection, middle) < moment:
                    low = middle + 1
                else:
                    high = middle
            return high

    def _draw(self, conditions: Sequence[_Condition], count: int, seed: int) -> list[Edit]:
        with self._database.read() as connection:
            ids = self._draw_ids(connection, conditions, count, random.Random(seed))  # noqa: S311 - repeatable
            found: list[Edit] = []
            for part in chunks(ids):
                rows = connection.execute(select_edits().where(edits.c.id.in_(part)).order_by(edits.c.id))
                found += [to_edit(row) for row in rows]
            return found

    def _draw_ids(
        self, connection: Connection, conditions: Sequence[_Condition], count: int, sampler: random.Random
    ) -> list[EditId]:
        highest = int(connection.execute(select(func.max(edits.c.id))).scalar_one() or 0)
        drawn: list[EditId] = []
        if highest > 2 * self._draw_size:
            tried: set[EditId] = set()
            for _ in range(self._max_draws):
                drawn_ids = {str(sampler.randint(1, highest)) for _ in range(self._draw_size)} - tried
                tried |= drawn_ids
                # Not the bare conditions: SQLite would read its index of states, which has every live edit.
                fits = case((and_(*conditions), 1), else_=0) == 1
                met = connection.execute(select(edits.c.id).where(edits.c.id.in_(drawn_ids), fits))
                found = by_arrival(met.scalars())
                sampler.shuffle(found)
                drawn += found
                if len(drawn) >= count:
                    return drawn[:count]
        ids = connection.execute(select(edits.c.id).where(*conditions).order_by(edits.c.id)).scalars().all()
        return sampler.sample(list(ids), min(count, len(ids)))


def _published(connection: Connection, number: int) -> datetime:
    query = select(generations.c.created_at).where(generations.c.number == number)
    moment: datetime = connection.execute(query).scalar_one()
    return moment
