"""What must hold in a ledger after every transaction, whoever was killed on the way."""

from collections import Counter
from itertools import pairwise

from sqlalchemy import select
from support.ledger.ledger_backends import database_of

from daemon.ledger import Ledger
from daemon.ledger.store.schema import batches, edits, outbox
from daemon.ledger.store.states import ALLOWED, OUTCOMES
from daemon.ledger.values import Edit, EditState, RecordOutcome

ALL = 1_000_000


def age(edit: Edit) -> tuple[object, int, int]:
    """What decides between rivals."""
    return (edit.occurred_at, edit.offset, int(edit.id))


def check_invariants(ledger: Ledger) -> None:
    """Assert that nothing is lost, doubled or half done."""
    found = ledger.audit.facts(limit=ALL)
    assert len(found) == ledger.intake.outcomes()[RecordOutcome.ACCEPTED]
    states = Counter(edit.state for edit in found)
    assert ledger.audit.counts() == {state: states[state] for state in EditState}
    _check_histories(ledger, found)
    _check_live_set(ledger, found)
    _check_batches(ledger)
    by_id = {edit.id: edit for edit in found}
    for edit in found:
        if edit.state is EditState.SUPERSEDED:
            assert edit.superseded_by is not None
            assert age(by_id[edit.superseded_by]) > age(edit)


def _check_histories(ledger: Ledger, found: list[Edit]) -> None:
    outcomes: Counter[tuple[str, str]] = Counter()
    for edit in found:
        entries = ledger.audit.history(edit.id)
        assert entries[0].from_state is None
        assert entries[-1].to_state is edit.state
        for entry in entries:
            assert entry.to_state in ALLOWED[entry.from_state]
            if entry.to_state in OUTCOMES:
                outcomes[edit.id, entry.to_state.value] += 1
        assert all(one.to_state is two.from_state for one, two in pairwise(entries))
    with database_of(ledger).read() as connection:
        reported = Counter((p["edit_id"], p["state"]) for p in connection.scalars(select(outbox.c.payload)))
    assert reported == outcomes


def _check_live_set(ledger: Ledger, found: list[Edit]) -> None:
    live = [edit for edit in found if edit.state is EditState.LIVE]
    assert max(Counter(edit.fact_key for edit in live).values(), default=1) == 1
    assert max(Counter(edit.prompt_key for edit in live).values(), default=1) == 1
    folded: dict[str, str] = {}
    generations = ledger.generations.since(-1)
    for number, generation in enumerate(generations):
        assert generation.number == number
        assert set(generation.disabled) <= folded.keys()
        for edit_id in generation.disabled:
            del folded[edit_id]
        assert all(folded.get(edit_id) != shard for edit_id, shard in generation.enabled.items())
        folded.update(generation.enabled)
    assert ledger.generations.live() == folded == ledger.generations.live_at(len(generations) - 1)
    assert folded.keys() == {edit.id for edit in live}


def _check_batches(ledger: Ledger) -> None:
    """Edits that are being applied stand in a leased batch, planned ones in a planned batch."""
    columns = (edits.c.id, edits.c.state, batches.c.state.label("batch_state"))
    in_work = edits.c.state.in_(["planned", "applying"])
    query = select(*columns).select_from(edits).outerjoin(batches, batches.c.id == edits.c.batch_id)
    with database_of(ledger).read() as connection:
        for row in connection.execute(query.where(in_work)):
            assert (row.state, row.batch_state) in {("planned", "planned"), ("applying", "leased")}
