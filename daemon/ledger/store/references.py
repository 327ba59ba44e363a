"""Generations that answer by reference: a rollback of very many edits is live before all that it changes is written down.

Its generation answers as an earlier one did, but for a few exceptions. Until the rest is written (`publication.finishing`),
nothing else is published or planned, and whoever asks what is live asks through `publication.manifests`, which knows.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from sqlalchemy import Connection, delete, insert, select, update

from daemon.ledger.errors import RollbackUnfinished
from daemon.ledger.store.rows import clip
from daemon.ledger.store.schema import rollback_references
from daemon.ledger.store.schema.columns import REASON_CHARS
from edits.ids import EditId


@dataclass(frozen=True, slots=True)
class Place:
    """How far the writing has come: what goes off is written before what comes back, each from the newest change on.

    Attributes:
        is_switching_on: whether all that goes off is written.
        generation, edit: of the last change that was looked at.
    """

    is_switching_on: bool
    generation: int
    edit: int


@dataclass(frozen=True, slots=True)
class Reference:
    """A generation whose changes are not all written down.

    Attributes:
        answers_as: the earlier generation whose live edits it has.
        exceptions: edits that are live all the same, with their shards, or (None) stay off.
    """

    generation: int
    answers_as: int
    cause: str
    place: Place
    exceptions: Mapping[EditId, str | None]

    def only(self, ids: Collection[EditId]) -> "Reference":
        """The same, with the exceptions among the given edits alone."""
        return replace(self, exceptions={i: shard for i, shard in self.exceptions.items() if i in ids})

    def amend(self, live: dict[EditId, str]) -> dict[EditId, str]:
        """The live edits of `answers_as` (edit -> shard) made those of this generation."""
        for edit_id, shard in self.exceptions.items():
            if shard is None:
                live.pop(edit_id, None)
            else:
                live[edit_id] = shard
        return live


def unfinished(connection: Connection) -> Reference | None:
    """The head's reference, where it answers by one."""
    row = connection.execute(select(rollback_references)).one_or_none()
    if row is None:
        return None
    place = Place(row.is_switching_on, row.reached, row.reached_edit)
    return Reference(row.generation, row.answers_as, row.cause, place, row.exceptions)


def require_finished(connection: Connection, number: int | None = None) -> None:
    """Let nobody decide by the states of edits while they are not those of the head.

    Args:
        number: nor by what this generation changed; None: by nothing at all.

    Raises:
        RollbackUnfinished: a rollback is still being written down.
    """
    reference = unfinished(connection)
    if reference is not None and number in (None, reference.generation):
        raise RollbackUnfinished(
            f"generation {reference.generation} answers as generation {reference.answers_as} did, and what that changes is "
            "still being written down by the workers (by `upkeep rollback` too): try again in a moment",
            retry_after_seconds=1.0,
        )


def begin(connection: Connection, reference: Reference) -> None:
    """The head answers by reference from now on."""
    row = {
        "generation": reference.generation,
        "answers_as": reference.answers_as,
        "cause": clip(reference.cause, REASON_CHARS),
        **_columns(reference.place),
        "exceptions": dict(reference.exceptions),
    }
    connection.execute(insert(rollback_references).values(row))


def advance(connection: Connection, reference: Reference, place: Place | None) -> None:
    """The writing has come to a place; None: all is written, and the reference goes."""
    own = rollback_references.c.generation == reference.generation
    if place is None:
        connection.execute(delete(rollback_references).where(own))
    else:
        connection.execute(update(rollback_references).where(own).values(_columns(place)))


def _columns(place: Place) -> dict[str, bool | int]:
    return {
        "is_switching_on": place.is_switching_on,
        "reached": place.generation,
        "reached_edit": place.edit,
    }
