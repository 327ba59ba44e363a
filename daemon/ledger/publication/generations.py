"""The published generations: which edits are live, and what each generation changed."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from daemon.ledger.errors import BaseChanged, NotInLedger, RollbackUnfinished
from daemon.ledger.publication import publishing, verdicts
from daemon.ledger.publication.manifests import (
    Origin,
    append,
    changes_between,
    live_set,
    load_generations,
    shards_at,
)
from daemon.ledger.publication.reversals import Reversals
from daemon.ledger.store.database import Database, lock_head
from daemon.ledger.store.references import require_finished, unfinished
from daemon.ledger.store.rows import select_edits, to_edit
from daemon.ledger.store.schema import edits, generation_changes, generations, head
from daemon.ledger.values import (
    Act,
    Blamed,
    ClaimedBatch,
    Edit,
    EditState,
    Generation,
    GenerationKind,
    Published,
    RejectedEdit,
)
from edits.ids import EditId

NOBODY = "upkeep"  # what the daemon does by itself


class Generations:
    """The model's published states; each is complete from the moment it can be seen."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock
        self._reversals = Reversals(database, clock)

    def head(self) -> Generation | None:
        """The newest generation; None before `start`."""
        with self._database.read() as connection:
            newest = select(head.c.generation).scalar_subquery()
            found = load_generations(connection, generations.c.number == newest)
        return found[0] if found else None

    def tip(self) -> tuple[int, str] | None:
        """Number and base of the newest generation, whatever it changed; None before `start`."""
        query = select(generations.c.number, generations.c.base_hash).join(
            head, head.c.generation == generations.c.number
        )
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return (int(row.number), row.base_hash) if row is not None else None

    def newest(self) -> Published | None:
        """What is known of the newest generation without reading what it changed; None before `start`."""
        query = select(generations).join(head, head.c.generation == generations.c.number)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        return Published(int(row.number), row.base_hash, row.created_at, row.cause)

    def changes_between(self, before: int, after: int) -> tuple[dict[EditId, str], set[EditId]]:
        """What turns the live edits of one generation into those of another, earlier or later: on, with shards, and off.

        Costs what was changed between the two, however many are live.
        """
        with self._database.read() as connection:
            return changes_between(connection, before, after)

    def start(self, base_hash: str, *, earlier: Collection[str] = ()) -> Generation:
        """Generation zero, the base as it is; made at the first call.

        Args:
            earlier: hashes by which earlier releases knew the same base.

        Raises:
            BaseChanged: the ledger's generations were made for another base.
        """
        with self._database.write() as connection:
            if lock_head(connection).generation is None:
                zero = Generation(0, None, base_hash, (), {}, (), "the base as it is", self._clock())
                append(connection, zero, Origin(GenerationKind.START), expected_head=None)
                return zero
            zero = load_generations(connection, generations.c.number == 0)[0]
        if zero.base_hash != base_hash and zero.base_hash not in earlier:
            raise BaseChanged(
                f"this ledger belongs to the base model {zero.base_hash[:16]}, not to {base_hash[:16]}: "
                "set model.path to the base it was started with, or start a new ledger and adapter store"
            )
        return zero

    def get(self, number: int) -> Generation:
        """One generation.

        Raises:
            NotInLedger: it was never published.
        """
        with self._database.read() as connection:
            found = load_generations(connection, generations.c.number == number)
        if not found:
            raise NotInLedger(f"there is no generation {number}")
        return found[0]

    def since(self, number: int) -> list[Generation]:
        """The generations after `number`, in order, with all that they changed: costs as much."""
        with self._database.read() as connection:
            return load_generations(connection, generations.c.number > number)

    def has_live(self, *, after: int, upto: int) -> bool:
        """Whether an edit that a generation after one, up to another, switched on is live now."""
        changed = generation_changes.c
        query = (
            select(edits.c.id)
            .join(generation_changes, changed.edit_id == edits.c.id)
            .where(
                changed.generation > after,
                changed.generation <= upto,
                changed.shard.is_not(None),
                func.coalesce(edits.c.state, "")
                == EditState.LIVE.value,  # by id, not by SQLite's index of states
            )
            .limit(1)
        )
        with self._database.read() as connection:
            return connection.execute(query).first() is not None

    def live(self) -> dict[EditId, str]:
        """The live edits at the head: edit id -> digest of the shard that carries it."""
        with self._database.read() as connection:
            if (reference := unfinished(connection)) is not None:
                return live_set(connection, reference.generation)
            rows = connection.execute(
                select(edits.c.id, edits.c.shard)
                .where(edits.c.state == EditState.LIVE.value)
                .order_by(edits.c.id)
            )
            return {row.id: row.shard for row in rows}

    def live_at(self, number: int) -> dict[EditId, str]:
        """The live edits at generation `number`.

        Raises:
            NotInLedger: it was never published.
        """
        with self._database.read() as connection:
            known = select(generations.c.number).where(generations.c.number == number)
            if connection.execute(known).one_or_none() is None:
                raise NotInLedger(f"there is no generation {number}")
            return live_set(connection, number)

    def shards_at(self, number: int, edit_ids: Collection[EditId]) -> dict[EditId, str]:
        """Those of the given edits that were live at generation `number`, with their shards then.

        Costs what the given edits cost, however many are live.
        """
        with self._database.read() as connection:
            return shards_at(connection, number, edit_ids)

    def live_edits(self) -> list[Edit]:
        """The live edits at the head, by id.

        Raises:
            RollbackUnfinished: they are not all known by their states.
        """
        with self._database.read() as connection:
            require_finished(connection)
            query = select_edits().where(edits.c.state == EditState.LIVE.value).order_by(edits.c.id)
            return [to_edit(row) for row in connection.execute(query)]

    def live_among(self, ids: Sequence[EditId]) -> list[Edit]:
        """Those of the given edits (a few hundred at most) that are live."""
        with self._database.read() as connection:
            query = select_edits().where(edits.c.id.in_(ids), edits.c.state == EditState.LIVE.value)
            return [to_edit(row) for row in connection.execute(query.order_by(edits.c.id))]

    def shards(self) -> set[str]:
        """Digests of all shards that any generation ever named: rollback may need each of them."""
        with self._database.read() as connection:
            named = (
                select(generation_changes.c.shard).where(generation_changes.c.shard.is_not(None)).distinct()
            )
            return set(connection.execute(named).scalars())

    def publish(
        self,
        *,
        batch: ClaimedBatch,
        expected_head: int,
        live: Mapping[EditId, str],
        rejected: Mapping[EditId, RejectedEdit],
        scores: Mapping[str, Any],
        cause: str,
        same: Mapping[EditId, Iterable[EditId]] | None = None,
    ) -> Generation | None:
        """Finish a claimed batch in one transaction; None where the live set stays as it is.

        `live` and `rejected` say for every assertion of the batch whether verification let it pass; `live` names
        the shard that carries each. The batch's retractions take effect unless they are in `rejected`. For each
        fact and each prompt the newest edit wins (`occurred_at`, then offset, then id): older live edits
        are superseded or retracted, and an edit of the batch that has a newer live or retracting rival is
        itself superseded. A rejected edit leaves an older live value of its fact live. `same` names, for edits of the
        batch, others that ask the same of the same subject in other words: they are rivals too.

        Raises:
            LeaseLost: the batch belongs to somebody else by now, or is done.
            HeadMoved: the head is not `expected_head`.
            RollbackUnfinished: the head's changes are not all written down (`Reversals.finish`).
            ValueError: `live` and `rejected` do not fit the batch.
        """
        with self._database.write() as connection:
            return publishing.publish(
                connection,
                publishing.Publication(batch, expected_head, live, rejected, scores, cause, same or {}),
                at=self._clock(),
            )

    def rollback_to(self, number: int, *, cause: str, actor: str = NOBODY) -> Generation:
        """Publish a generation with the live edits of `number`; the head itself where nothing differs.

        Edits live now but not then become `retracted`, edits live then are live again, except those that somebody took
        back by hand since. Of very many the generation answers at once, and they are moved afterwards (`Reversals.finish`).
        Pending and planned edits go on, and a batch in work finds that the head moved. Retractions stay in force for
        edits yet to come.

        Raises:
            NotInLedger: that generation was never published.
        """
        while True:
            try:
                return self._reversals.rollback(number, Act(actor, cause), cause=cause)
            except RollbackUnfinished:  # what must follow from a failed check is not put off
                self._reversals.finish()

    def settle_blame(
        self,
        culprits: Mapping[EditId, Blamed],
        *,
        cleared: Collection[EditId],
        rolled_back: int | None,
        cause: str,
    ) -> Generation | None:
        """Quarantine culprits, and undo what a rollback did to the others; None where the live set stays as it is.

        `rolled_back` is the generation in which the candidates were taken back, if they were. Of the cleared those come
        back that it switched off, unless a newer fact or a retraction stands in their way by now; what it brought back
        in their place gives way again, while older values of the culprits' facts stay.
        """
        with self._database.write() as connection:
            return verdicts.settle_blame(
                connection,
                verdicts.Blame(culprits, frozenset(cleared), rolled_back, cause),
                at=self._clock(),
            )
