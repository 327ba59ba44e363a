"""Find edits by what is known of them; a page costs the same however many edits there are.

One condition drives: its index gives candidates, the newest first, and the others are asked of each. A page looks at no
more than `MAX_CANDIDATES` of them; where it ends early, its cursor goes on from there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import nlargest

from sqlalchemy import ColumnElement, Connection, exists, func, select

from daemon.ledger.history.batch_halves import with_halves
from daemon.ledger.history.timeline import first_where
from daemon.ledger.page_values import FactQuery, FoundFacts
from daemon.ledger.queue.intake import name_key
from daemon.ledger.store.database import Database
from daemon.ledger.store.rows import CHUNK, select_edits, to_edit
from daemon.ledger.store.schema import edit_names, edit_words, edits, generation_changes, history
from daemon.ledger.store.words import words_of
from daemon.ledger.values import Edit, Lane
from edits.errors import BadRequest
from edits.ids import EditId

MAX_PAGE = 500
MAX_CANDIDATES = 10_000  # looked at for one page
MAX_TERMS = 8
MAX_BEGINNINGS = 16  # words that a term may be the beginning of
MIN_PREFIX_CHARS = 3
MAX_TEXT_CHARS = 1_000
_PROBE = 1_000  # a term with so many edits is common
_LAST = "\U0010ffff"

# Candidates under a place, newest first: (place, edit id). For all but times, the place is the id.
_Stream = Callable[[Connection, int | None, int], list[tuple[int, EditId]]]


@dataclass(frozen=True, slots=True)
class _Search:
    """A query as it is carried out: what gives the candidates, and what is asked of each."""

    stream: _Stream
    conditions: Sequence[ColumnElement[bool]]
    answer: Sequence[str] = ()

    def page(self, connection: Connection, cursor: int | None, limit: int) -> FoundFacts:
        found: list[Edit] = []
        looked_at, many = 0, limit + 1
        while True:
            candidates = self.stream(connection, cursor, many)
            kept = self._kept(connection, [edit_id for _, edit_id in candidates])
            for place, edit_id in candidates:
                if len(found) == limit:
                    return FoundFacts(tuple(found), str(cursor))
                cursor = place
                if edit_id in kept:
                    found.append(kept[edit_id])
            looked_at += len(candidates)
            if len(candidates) < many:
                return FoundFacts(tuple(found), None)
            if looked_at >= MAX_CANDIDATES:
                return FoundFacts(tuple(found), str(cursor))
            many = min(2 * many, CHUNK)  # few of them meet the other conditions

    def _kept(self, connection: Connection, ids: Sequence[EditId]) -> dict[EditId, Edit]:
        if not ids:
            return {}
        rows = connection.execute(select_edits().where(edits.c.id.in_(ids), *self.conditions))
        met = (to_edit(row) for row in rows if _has_words(row.target_new, self.answer))
        return {edit.id: edit for edit in met}


class Search:
    """Reads only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, query: FactQuery, *, cursor: str | None = None, limit: int = 50) -> FoundFacts:
        """The edits that meet the query: the newest first, or those that moved last, where a time alone is asked for.

        Raises:
            BadRequest: the cursor is no number, or a text has no word.
        """
        if cursor is not None and not (cursor.isdecimal() and len(cursor) < 20):
            raise BadRequest("the cursor is not one of this list's")
        with self._database.read() as connection:
            search = _plan(connection, query)
            at = int(cursor) if cursor is not None else None
            return search.page(connection, at, max(1, min(limit, MAX_PAGE)))


def _plan(connection: Connection, query: FactQuery) -> _Search:
    """The narrowest condition gives the candidates."""
    answer = _terms(query.answer)
    terms = [*_terms(query.text), *answer]
    words = [_beginnings(connection, term) for term in terms[:MAX_TERMS]]
    batches = with_halves(connection, query.batch) if query.batch is not None else None
    conditions = [_has_one_of(variants) for variants in words]
    conditions += _conditions(connection, query, batches)
    if query.edit_id is not None:
        stream = _only(edits.c.id == query.edit_id)
    elif query.event_id is not None:
        stream = _only(edits.c.event_id == query.event_id)
    elif batches is not None:
        stream = _by_batch(batches)
    elif query.subject is not None:
        stream = _by(edit_names.c.edit_id, edit_names.c.name_key == name_key(query.subject))
    elif words:
        stream = _by_words(min(words, key=lambda variants: _how_many(connection, variants)))
    elif query.generation is not None:
        stream = _by(generation_changes.c.edit_id, generation_changes.c.generation == query.generation)
    elif query.since is not None or query.until is not None:
        stream = _by_time(*_moves_within(connection, query.since, query.until))
    elif query.state is not None:
        stream = _merged(
            [_by(edits.c.id, edits.c.state == query.state.value, edits.c.lane == lane.value) for lane in Lane]
        )
    elif query.relation is not None:
        stream = _by(edits.c.id, edits.c.relation == query.relation)
    else:
        stream = _by(edits.c.id)
    return _Search(stream, conditions, answer)


def _conditions(
    connection: Connection, query: FactQuery, batches: Sequence[int] | None
) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if query.edit_id is not None:
        found.append(edits.c.id == query.edit_id)
    if query.event_id is not None:
        found.append(edits.c.event_id == query.event_id)
    if batches is not None:
        found.append(edits.c.batch_id.in_(batches))
    if query.state is not None:
        found.append(edits.c.state == query.state.value)
    if query.relation is not None:
        found.append(edits.c.relation == query.relation)
    if query.subject is not None:
        named = edit_names.c.name_key == name_key(query.subject)
        found.append(exists().where(edit_names.c.edit_id == edits.c.id, named))
    if query.generation is not None:
        changed = generation_changes.c.generation == query.generation
        found.append(exists().where(generation_changes.c.edit_id == edits.c.id, changed))
    if query.since is not None or query.until is not None:
        first, last = _moves_within(connection, query.since, query.until)
        moved = history.c.id.between(first, last)
        found.append(exists().where(history.c.edit_id == edits.c.id, moved))
    return found


def _by(column: ColumnElement[EditId], *conditions: ColumnElement[bool]) -> _Stream:
    """Candidates whose ids an index gives in order."""

    def stream(connection: Connection, under: int | None, many: int) -> list[tuple[int, EditId]]:
        query = select(column).where(*conditions).order_by(column.desc()).limit(many)
        if under is not None:
            query = query.where(column < str(under))
        return [(int(i), i) for i in connection.execute(query).scalars()]

    return stream


def _only(condition: ColumnElement[bool]) -> _Stream:
    return _by(edits.c.id, condition)


def _merged(streams: Sequence[_Stream]) -> _Stream:
    def stream(connection: Connection, under: int | None, many: int) -> list[tuple[int, EditId]]:
        return nlargest(many, {one for part in streams for one in part(connection, under, many)})

    return stream


def _by_batch(numbers: Sequence[int]) -> _Stream:
    return _merged([_by(edits.c.id, edits.c.batch_id == number) for number in numbers])


def _by_words(variants: Sequence[str]) -> _Stream:
    return _merged([_by(edit_words.c.edit_id, edit_words.c.word == word) for word in variants])


def _by_time(first: int, last: int) -> _Stream:
    """Edits by their last move within a range of the history; the place is that move's number."""
    later = history.alias().c

    def stream(connection: Connection, under: int | None, many: int) -> list[tuple[int, EditId]]:
        again = exists().where(later.edit_id == history.c.edit_id, later.id > history.c.id, later.id <= last)
        query = (
            select(history.c.id, history.c.edit_id)
            .where(history.c.id >= first, history.c.id <= (last if under is None else under - 1), ~again)
            .order_by(history.c.id.desc())
            .limit(many)
        )
        return [(int(move), edit_id) for move, edit_id in connection.execute(query)]

    return stream


def _moves_within(connection: Connection, since: datetime | None, until: datetime | None) -> tuple[int, int]:
    """Numbers of the first and the last move of the history in a time; moves are numbered as they happen."""
    end = int(connection.execute(select(func.max(history.c.id))).scalar_one() or 0) + 1

    def from_(moment: datetime, *, behind: bool) -> int:
        def is_met(number: int) -> bool:
            next_one = select(history.c.at).where(history.c.id >= number).order_by(history.c.id).limit(1)
            at = connection.execute(next_one).scalar_one()
            return bool(at > moment if behind else at >= moment)

        return first_where(1, end, is_met)

    first = from_(since, behind=False) if since is not None else 1
    return first, (from_(until, behind=True) if until is not None else end) - 1


def _terms(text: str | None) -> list[str]:
    if text is None:
        return []
    words = words_of([text[:MAX_TEXT_CHARS]])
    if not words:
        raise BadRequest("there is no word to look for")
    return words[:MAX_TERMS]


def _beginnings(connection: Connection, term: str) -> list[str]:
    """The words that begin with a term, at most `MAX_BEGINNINGS`, the term itself always."""
    found = [term]
    while len(term) >= MIN_PREFIX_CHARS and len(found) < MAX_BEGINNINGS:
        above = select(func.min(edit_words.c.word)).where(
            edit_words.c.word > found[-1], edit_words.c.word < term + _LAST
        )
        word = connection.execute(above).scalar_one()
        if word is None:
            break
        found.append(word)
    return found


def _how_many(connection: Connection, variants: Sequence[str]) -> int:
    """How many edits have one of the words; at most `_PROBE` each are counted."""
    probes = [
        select(edit_words.c.edit_id).where(edit_words.c.word == word).limit(_PROBE) for word in variants
    ]
    counts = [select(func.count()).select_from(probe.subquery()) for probe in probes]
    return sum(int(connection.execute(count).scalar_one()) for count in counts)


def _has_one_of(variants: Sequence[str]) -> ColumnElement[bool]:
    return exists().where(edit_words.c.edit_id == edits.c.id, edit_words.c.word.in_(variants))


def _has_words(answer: str | None, terms: Sequence[str]) -> bool:
    words = words_of([answer]) if terms else []
    return all(
        any(word == term or (len(term) >= MIN_PREFIX_CHARS and word.startswith(term)) for word in words)
        for term in terms
    )
