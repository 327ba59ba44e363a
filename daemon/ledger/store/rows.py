"""Read edits from the tables: whole, as other packages see them, or as the few columns that decide a move."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Row, Select, or_, select

from daemon.events.fact_event import FactEvent
from daemon.ledger.errors import NotInLedger
from daemon.ledger.store.schema import edits, plans
from daemon.ledger.values import Edit, EditState, Lane, PlanCause, PlanTrigger
from edits.ids import EditId
from edits.recency import Recency, Rival, by_arrival, recency_of, rival_keys

T = TypeVar("T")

CHUNK = 500  # values in one IN list: far under both databases' limits

# Of a query that joins `plans`: what had the plan made, for `plan_cause_of`.
CAUSE_OF_PLAN = (
    plans.c.origin.label("plan_origin"),
    plans.c.actor.label("plan_actor"),
    plans.c.reason.label("plan_reason"),
)


def chunks(values: Iterable[T]) -> Iterator[list[T]]:
    """The values in lists of at most `CHUNK`."""
    rest = iter(values)
    while part := list(islice(rest, CHUNK)):
        yield part


def clip(text: str, limit: int) -> str:
    """`text` as both databases can keep it in a column of `limit` characters."""
    kept = text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")
    return kept if len(kept) <= limit else kept[: limit - 1] + "…"


def from_row(kind: Callable[..., T], row: Row[Any], /, **read: Any) -> T:
    """A dataclass of the row's columns of the same names; `read` are the fields that are not what the column holds."""
    return kind(**{name: getattr(row, name) for name in _names(kind) if name not in read}, **read)


@cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def plan_cause_of(origin: str | None, actor: str | None, reason: str | None) -> PlanCause | None:
    """What had a plan made, of its three columns; None: it was not recorded."""
    return None if origin is None else PlanCause(PlanTrigger(origin), actor, reason)


def to_edit(row: Row[Any]) -> Edit:
    """The edit of one full row of `edits`."""
    return from_row(
        Edit,
        row,
        state=EditState(row.state),
        priority=Lane(row.lane),
        event=FactEvent.model_validate(row.event),
    )


def select_edits() -> Select[Any]:
    """All columns of `edits`, for `to_edit`."""
    return select(edits)


@dataclass(frozen=True, slots=True)
class Standing:
    """What decides an edit's next move, and what its outcome must say."""

    id: EditId
    event_id: str
    op: str
    state: EditState
    subject: str
    relation: str | None
    occurred_at: datetime
    offset: int
    fact_key: str
    prompt_key: str | None
    shard: str | None
    batch_id: int | None

    @property
    def recency(self) -> Recency:
        """What decides between rivals: the greater is the newer."""
        return recency_of(self.occurred_at, self.offset, self.id)


# What decides about edits that would go live: what is live, and the retractions in force.
IN_FORCE = (edits.c.op == "retract") & (edits.c.state == EditState.RETRACTED.value)
DECIDES = or_(edits.c.state == EditState.LIVE.value, IN_FORCE)

_STANDING = select(*(edits.c[field.name] for field in fields(Standing)))


def to_standing(row: Row[Any]) -> Standing:
    """The standing of one row that has at least its columns."""
    return from_row(Standing, row, state=EditState(row.state))


def standings(connection: Connection, *conditions: ColumnElement[bool]) -> list[Standing]:
    """The standings that meet all conditions, by id."""
    return [to_standing(row) for row in connection.execute(_STANDING.where(*conditions).order_by(edits.c.id))]


def standings_by_id(connection: Connection, ids: Iterable[EditId]) -> dict[EditId, Standing]:
    """The standings of these edits; unknown ids are left out."""
    found: dict[EditId, Standing] = {}
    for part in chunks(by_arrival(set(ids))):
        found.update((edit.id, edit) for edit in standings(connection, edits.c.id.in_(part)))
    return found


def rival_conditions(members: Iterable[Rival]) -> Iterator[ColumnElement[bool]]:
    """Conditions that find, part by part, every edit that shares a key (`edits.recency`) with one of the members."""
    keys = {key for member in members for key in rival_keys(member)}
    for kind, column in (("fact", edits.c.fact_key), ("prompt", edits.c.prompt_key)):
        for part in chunks(sorted(key for of, key in keys if of == kind)):
            yield column.in_(part)


def rivals_of(
    connection: Connection, members: Sequence[Standing], *conditions: ColumnElement[bool]
) -> list[Standing]:
    """Every other edit that shares a fact or a prompt with one of the members and meets the conditions."""
    own = {member.id for member in members}
    found: dict[EditId, Standing] = {}
    for shares_key in rival_conditions(members):
        found.update(
            (one.id, one) for one in standings(connection, shares_key, *conditions) if one.id not in own
        )
    return list(found.values())


def superseded_by(connection: Connection, ids: Iterable[EditId]) -> dict[EditId, EditId]:
    """Edit -> the edit that took its place, of those that are superseded now."""
    found: dict[EditId, EditId] = {}
    for part in chunks(ids):
        query = select(edits.c.id, edits.c.superseded_by).where(
            edits.c.id.in_(part), edits.c.superseded_by.is_not(None)
        )
        found.update((row.id, row.superseded_by) for row in connection.execute(query))
    return found


def edit_of(connection: Connection, edit_id: EditId) -> Edit:
    """One whole edit.

    Raises:
        NotInLedger: there is no such edit.
    """
    row = connection.execute(select_edits().where(edits.c.id == edit_id)).one_or_none()
    if row is None:
        raise NotInLedger(f"there is no edit {edit_id}")
    return to_edit(row)
