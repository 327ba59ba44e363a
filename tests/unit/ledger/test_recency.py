"""The newest value of a fact wins, whatever arrives last, and everybody who decides it decides alike."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from daemon.ledger.publication.conflicts import settle
from daemon.ledger.store.rows import Standing
from daemon.ledger.values import EditState
from edits.recency import arrival, by_arrival, newest_first
from planners import Pending
from planners.conflicts import resolve

START = datetime(2026, 1, 1, tzinfo=UTC)
# (minute in which the fact changed, offset in the topic, which fact): ids follow from the place in the list.
CHANGES = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 3), st.sampled_from("abc")), min_size=1, max_size=12
)


@given(CHANGES, st.randoms(use_true_random=False))
def test_planner_and_ledger_keep_the_newest_of_each_fact_whatever_the_order_of_arrival(
    changes: Sequence[tuple[int, int, str]], rng: object
) -> None:
    edits = [_pending(number, *change) for number, change in enumerate(changes, 1)]
    newest = {
        fact: max(e.recency for e in edits if e.fact_key == fact) for fact in {e.fact_key for e in edits}
    }
    shuffled = [*edits, *edits[:3]]
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    resolution = resolve(shuffled)
    assert {edit.fact_key: edit.recency for edit in resolution.winners} == newest
    assert [edit.recency for edit in resolution.winners] == sorted(newest.values())
    assert resolve(resolution.winners).winners == resolution.winners
    recency = {edit.edit_id: edit.recency for edit in edits}
    assert all(recency[winner] > recency[loser] for loser, winner in resolution.superseded.items())
    settled = settle([_standing(edit, EditState.APPLYING) for edit in edits], [])
    assert {edit.fact_key: edit.recency for edit in settled.enabled} == newest
    assert settled.too_late.keys() == resolution.superseded.keys()


@given(CHANGES)
def test_no_two_edits_are_of_one_recency_and_of_edits_equally_old_the_last_to_arrive_is_the_newest(
    changes: Sequence[tuple[int, int, str]],
) -> None:
    edits = [_pending(number, 0, 0, fact) for number, (_, _, fact) in enumerate(changes, 1)]
    order = [edit.edit_id for edit in newest_first(edits)]
    assert [int(one) for one in order] == list(range(len(edits), 0, -1))
    # What routes among live edits knows their ids alone.
    assert sorted(order, key=arrival, reverse=True) == order
    assert by_arrival(order) == order[::-1]


def _pending(edit_id: int, minute: int, offset: int, fact: str) -> Pending:
    return Pending(
        edit_id=str(edit_id),
        op="assert",
        subject=fact,
        relation=None,
        prompt=None,
        fact_key=fact,
        prompt_key=None,
        urgent=False,
        occurred_at=START + timedelta(minutes=minute),
        offset=offset,
    )


def _standing(edit: Pending, state: EditState) -> Standing:
    return Standing(
        id=edit.edit_id,
        event_id=edit.edit_id,
        op=edit.op,
        state=state,
        subject=edit.subject,
        relation=None,
        occurred_at=edit.occurred_at,
        offset=edit.offset,
        fact_key=edit.fact_key,
        prompt_key=None,
        shard=None,
        batch_id=None,
    )
