"""Generations that answer by reference: a rollback of very many edits is live before all that it changes is written down.

Its generation answers as an earlier one did, but for a few exceptions. Until the rest is written (`finishing.py`), nothing
else is published, and whoever asks what is live asks through `manifests.py`, which knows.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from sqlalchemy import Connection, delete, insert, select, update

from daemon.ledger.errors import RollbackUnfinished
from daemon.ledger.store.schema import rollback_references
from edits.ids import EditId


@dataclass(frozen=True, slots=True)
class Reference:
    """A generation whose changes are not all written down.

    Attributes:
        answers_as: the earlier generation whose live edits it has.
        reached: what generations after this one changed is written down already.
        exceptions: edits that are live all the same, with their shards, or (None) stay off: what people did by hand.
    """

    generation: int
    answers_as: int
    reached: int
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
    return Reference(row.generation, row.answers_as, row.reached, row.exceptions) if row is not None else None


def require_finished(connection: Connection) -> None:
    """Let nobody decide by the states of edits while they are not those of the head.

    Raises:
        RollbackUnfinished: a rollback is still being written down.
    """
    reference = unfinished(connection)
    if reference is not None:
        raise RollbackUnfinished(
            f"generation {reference.generation} answers as generation {reference.answers_as} did, and a worker is still "
            f"writing down what that changes (generations {reference.answers_as + 1} to {reference.reached} are left): "
            "try again in a moment",
            retry_after_seconds=1.0,
        )


def begin(connection: Connection, reference: Reference) -> None:
    """The head answers by reference from now on."""
    row = {
        "generation": reference.generation,
        "answers_as": reference.answers_as,
        "reached": reference.reached,
        "exceptions": dict(reference.exceptions),
    }
    connection.execute(insert(rollback_references).values(row))


def advance(connection: Connection, reference: Reference, reached: int) -> None:
    """What generations after `reached` changed is written down; the reference goes where that is all."""
    own = rollback_references.c.generation == reference.generation
    if reached > reference.answers_as:
        connection.execute(update(rollback_references).where(own).values(reached=reached))
    else:
        connection.execute(delete(rollback_references).where(own))
