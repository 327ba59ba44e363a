"""The generations as a list, newest first, and what differs between two; a page costs the same however many there are."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, exists, func, not_, select

from daemon.ledger.errors import NotInLedger
from daemon.ledger.page_values import CheckVerdict, Difference, FactChange, GenerationLine, GenerationPage
from daemon.ledger.publication.manifests import shards_at
from daemon.ledger.publication.pairs import Pair, fact_changes, pairs
from daemon.ledger.store.database import Database
from daemon.ledger.store.references import require_finished
from daemon.ledger.store.rows import (
    CAUSE_OF_PLAN,
    Standing,
    chunks,
    from_row,
    plan_cause_of,
    rivals_of,
    standings,
    standings_by_id,
    superseded_by,
)
from daemon.ledger.store.schema import (
    batches,
    check_newest,
    check_results,
    edits,
    generation_changes,
    generation_origins,
    generations,
    plans,
    rollback_references,
)
from daemon.ledger.values import GenerationKind, Lane
from edits.errors import BadRequest
from edits.ids import EditId

MAX_PAGE = 500
MAX_LOOKED_AT = 20  # times the page's size: so many changes are read for one page of a difference


class Timeline:
    """Reads only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(
        self,
        *,
        before: int | None = None,
        since: datetime | None = None,
        limit: int = 50,
    ) -> GenerationPage:
        """The newest generations under the number `before`, published at `since` or later."""
        limit = max(1, min(limit, MAX_PAGE))
        with self._database.read() as connection:
            conditions = [generations.c.number < before] if before is not None else []
            if since is not None:
                conditions.append(generations.c.number >= _first_since(connection, since))
            found = _lines(connection, *conditions, limit=limit + 1)
        page = tuple(found[:limit])
        return GenerationPage(page, page[-1].number if len(found) > limit else None)

    def named(self, numbers: Sequence[int]) -> tuple[GenerationLine, ...]:
        """These generations (a page of them at most), the newest first."""
        with self._database.read() as connection:
            named = generations.c.number.in_(numbers[:MAX_PAGE])
            return tuple(_lines(connection, named, limit=MAX_PAGE))

    def difference(self, a: int, b: int, *, cursor: str | None = None, limit: int = 50) -> Difference:
        """How the facts' answers differ from generation `a` to `b`, the facts that changed last first.

        Raises:
            NotInLedger: one of the two was never published.
            RollbackUnfinished: the later one's changes are not all written down.
            BadRequest: the cursor is none of this difference's.
        """
        low, high = min(a, b), max(a, b)
        limit = min(limit, MAX_PAGE)
        place = _place(cursor) or (high, None)
        with self._database.read() as connection:
            _require(connection, low, high)
            require_finished(connection, high)
            changes: list[FactChange] = []
            looked_at, more = 0, True
            while more and len(changes) < limit and looked_at < MAX_LOOKED_AT * limit:
                wanted = limit - len(changes)
                rows = connection.execute(_last_changes(low, high, place).limit(wanted)).all()
                more = len(rows) == wanted
                if rows:
                    looked_at += len(rows)
                    place = (int(rows[-1].generation), rows[-1].edit_id)
                    found = _pairs_of(connection, low, high, [row.edit_id for row in rows])
                    changes += fact_changes(connection, found)
        if a > b:
            changes = [FactChange(c.subject, c.relation, c.prompt, c.new, c.old) for c in changes]
        return Difference(a, b, tuple(changes), f"{place[0]}-{place[1]}" if more and high > low else None)


def _lines(connection: Connection, *conditions: ColumnElement[bool], limit: int) -> list[GenerationLine]:
    query = _select_lines().where(*conditions).order_by(generations.c.number.desc()).limit(limit)
    rows = connection.execute(query).all()
    verdicts = _verdicts(connection, [row.number for row in rows])
    return [_to_line(row, verdicts.get(row.number, ())) for row in rows]


def _select_lines() -> Select[Any]:
    origin, batch = generation_origins.c, batches.c
    return (
        select(
            generations.c.number,
            generations.c.parent,
            generations.c.created_at,
            generations.c.cause,
            generations.c.scores,
            origin.kind,
            origin.actor,
            origin.batch_id,
            origin.switched_on,
            origin.switched_off,
            rollback_references.c.answers_as,
            batch.plan_id,
            batch.lane,
            batch.editor,
            *CAUSE_OF_PLAN,
        )
        .join(generation_origins, origin.generation == generations.c.number)
        .outerjoin(rollback_references, rollback_references.c.generation == generations.c.number)
        .outerjoin(batches, batch.id == origin.batch_id)
        .outerjoin(plans, plans.c.id == batch.plan_id)
    )


def _to_line(row: Row[Any], checks: Sequence[CheckVerdict]) -> GenerationLine:
    return from_row(
        GenerationLine,
        row,
        kind=GenerationKind(row.kind),
        lane=Lane(row.lane) if row.lane is not None else None,
        planned_by=plan_cause_of(row.plan_origin, row.plan_actor, row.plan_reason),
        checks=tuple(checks),
    )


def _verdicts(connection: Connection, numbers: Sequence[int]) -> dict[int, list[CheckVerdict]]:
    """By generation, the newest result of each suite that was asked of it: one look into the index for each."""
    found: dict[int, list[CheckVerdict]] = {}
    newest = (
        select(func.max(check_results.c.id))
        .where(
            check_results.c.generation == generations.c.number,
            check_results.c.suite == check_newest.c.suite,
        )
        .scalar_subquery()
    )
    for part in chunks(numbers):
        ids = select(newest).select_from(generations.join(check_newest, generations.c.number.in_(part)))
        known = [one for one in connection.execute(ids).scalars() if one is not None]
        for few in chunks(sorted(known)):
            rows = select(check_results).where(check_results.c.id.in_(few)).order_by(check_results.c.suite)
            for row in connection.execute(rows):
                verdict = CheckVerdict(row.suite, row.passed, row.at, row.probes, row.scores)
                found.setdefault(row.generation, []).append(verdict)
    return found


def _first_since(connection: Connection, moment: datetime) -> int:
    """The first generation published at `moment` or later; one behind the last where there is none."""
    high = int(connection.execute(select(func.max(generations.c.number))).scalar_one() or 0) + 1
    return first_where(
        0,
        high,
        lambda number: (
            connection.execute(
                select(generations.c.created_at).where(generations.c.number == number)
            ).scalar_one()
            >= moment
        ),
    )


def first_where(low: int, high: int, is_met: Callable[[int], bool]) -> int:
    """The first number of a range from which on a condition is met; `high` where it never is."""
    while low < high:
        middle = (low + high) // 2
        if is_met(middle):
            high = middle
        else:
            low = middle + 1
    return high


def _require(connection: Connection, *numbers: int) -> None:
    known = select(generations.c.number).where(generations.c.number.in_(numbers))
    missing = set(numbers) - set(connection.execute(known).scalars())
    if missing:
        raise NotInLedger(f"there is no generation {min(missing)}")


def _place(cursor: str | None) -> tuple[int, EditId | None] | None:
    if cursor is None:
        return None
    generation, _, edit_id = cursor.partition("-")
    if not (generation.isdecimal() and edit_id.isdecimal() and len(cursor) < 40):
        raise BadRequest("the cursor is not one of this list's")
    return int(generation), edit_id


def _last_changes(low: int, high: int, place: tuple[int, EditId | None]) -> Select[Any]:
    """The last change of each edit within the range, newest first, behind a place."""
    last, later = generation_changes.c, generation_changes.alias().c
    generation, edit_id = place
    behind = last.generation <= generation
    if edit_id is not None:
        behind = and_(behind, not_(and_(last.generation == generation, last.edit_id >= edit_id)))
    return (
        select(last.generation, last.edit_id)
        .where(
            last.generation > low,
            last.generation <= high,
            behind,
            ~exists().where(
                later.edit_id == last.edit_id, later.generation > last.generation, later.generation <= high
            ),
        )
        .order_by(last.generation.desc(), last.edit_id.desc())
    )


def _pairs_of(connection: Connection, low: int, high: int, ids: Sequence[EditId]) -> list[Pair]:
    """What the given edits' changes come to; a pair is told once, with the edit that is on afterwards."""
    then, now = shards_at(connection, low, ids), shards_at(connection, high, ids)
    found = standings_by_id(connection, then.keys() ^ now.keys())
    on = [edit for edit in found.values() if edit.id in now]
    off = [edit for edit in found.values() if edit.id in then]
    # The other sides, which may stand on another page.
    others = _related(connection, [*on, *off])
    then_too = shards_at(connection, low, [edit.id for edit in others])
    now_too = shards_at(connection, high, [edit.id for edit in others])
    more_on = [edit for edit in others if edit.id in now_too and edit.id not in then_too]
    more_off = [edit for edit in others if edit.id in then_too and edit.id not in now_too]
    beaten = superseded_by(connection, [edit.id for edit in (*off, *more_off)])
    every = pairs([*off, *more_off], [*on, *more_on], beaten)
    wanted = {edit.id for edit in on} | {edit.id for edit in off}
    # The edit that is on afterwards tells of its pair; what went off for nothing tells of itself.
    shown: list[Pair] = [(old, new) for old, new in every if new is not None and new.id in wanted]
    shown += [(old, new) for old, new in every if new is None and old is not None and old.id in wanted]
    order = {edit_id: place for place, edit_id in enumerate(ids)}
    return sorted(shown, key=lambda pair: order[(pair[1] or pair[0]).id])  # type: ignore[union-attr]


def _related(connection: Connection, members: Sequence[Standing]) -> list[Standing]:
    """Other edits of the members' facts, and those that they superseded or that superseded them."""
    own = {member.id for member in members}
    found = {edit.id: edit for edit in rivals_of(connection, members)}
    for part in chunks(own):
        found.update((edit.id, edit) for edit in standings(connection, edits.c.superseded_by.in_(part)))
    winners = set(superseded_by(connection, own).values()) - own - found.keys()
    found.update(standings_by_id(connection, winners))
    return [edit for edit in found.values() if edit.id not in own]
