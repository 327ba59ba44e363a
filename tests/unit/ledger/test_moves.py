"""What a verdict, a publication and a rollback do to edits is planned before anything is written."""

from dataclasses import replace
from datetime import UTC, datetime

from daemon.ledger.publication.conflicts import Settlement, settle
from daemon.ledger.publication.publishing import Publication
from daemon.ledger.publication.publishing import plan_moves as moves_of_publication
from daemon.ledger.publication.rollback import Change
from daemon.ledger.publication.rollback import plan_moves as moves_of_rollback
from daemon.ledger.publication.verdicts import Blame, Effects
from daemon.ledger.publication.verdicts import plan_moves as moves_of_verdict
from daemon.ledger.store.rows import Standing
from daemon.ledger.store.transitions import Move
from daemon.ledger.values import Blamed, ClaimedBatch, EditState, Lane, RejectedEdit


def standing(number: int, state: EditState, *, fact: str | None = None, op: str = "assert") -> Standing:
    return Standing(
        id=str(number),
        event_id=str(number),
        op=op,
        state=state,
        subject="Norland",
        relation=None,
        occurred_at=datetime(2026, 1, number, tzinfo=UTC),
        offset=number,
        fact_key=fact or str(number),
        prompt_key=None,
        shard=f"shard-{number}",
        batch_id=1,
    )


def summary(moves: list[Move]) -> list[tuple[list[str], EditState, str | None]]:
    return [([edit.id for edit in move.edits], move.to, move.reason) for move in moves if move.edits]


def test_a_verdict_sets_culprits_aside_ends_what_is_older_and_then_brings_the_cleared_back() -> None:
    culprit, older, cleared, ended = (standing(n, EditState.LIVE, fact="f") for n in (4, 1, 3, 2))
    cleared = replace(cleared, state=EditState.RETRACTED)
    effects = Effects([culprit], settle([cleared], [older]), [older], [(ended, cleared)])
    blame = Blame({"4": Blamed("it answers for others", {"passes": 3})}, frozenset({"3"}), 6, "check 1")
    moves = moves_of_verdict(blame, effects, 7)
    assert summary(moves) == [
        (["4"], EditState.QUARANTINED, "it answers for others"),
        (["1"], EditState.SUPERSEDED, "edit 3 is newer"),
        (["2"], EditState.SUPERSEDED, "edit 3 is newer"),
        (["3"], EditState.LIVE, None),
    ]
    assert moves[0].detail == {"blame": {"passes": 3}}
    assert moves[-1].columns == {"generation": 7, "superseded_by": None}


def test_a_publication_lets_old_live_edits_leave_before_new_ones_enter_and_says_why_each_moves() -> None:
    old = standing(1, EditState.LIVE, fact="f")
    new, bad = standing(3, EditState.APPLYING, fact="f"), standing(4, EditState.APPLYING)
    retraction = standing(5, EditState.APPLYING, fact="g", op="retract")
    waiting = standing(2, EditState.PENDING, fact="g")
    batch = ClaimedBatch(id=1, plan_id=1, lane=Lane.BATCH, editor="scen", token=1, attempts=1, edits=())
    publication = Publication(batch, 0, {"3": "digest"}, {"4": RejectedEdit("too long")}, {}, "a batch")
    settlement = settle([new, retraction], [old])
    moves = moves_of_publication(
        publication, [new, bad, retraction], settlement, [old], {"5": [waiting]}, None
    )
    assert summary(moves) == [
        (["1"], EditState.SUPERSEDED, "edit 3 is newer"),
        (["2"], EditState.RETRACTED, "edit 5 retracts it"),
        (["4"], EditState.REJECTED, "too long"),
        (["5"], EditState.RETRACTED, "the retraction is in force"),
        (["3"], EditState.LIVE, None),
    ]
    assert moves[-1].columns["shard"] == "digest"


def test_nothing_moves_where_nothing_is_touched() -> None:
    assert summary(moves_of_rollback(Change(), 3, "by hand")) == []
    assert (
        summary(moves_of_verdict(Blame({}, frozenset(), None, "c"), Effects([], Settlement(), []), None))
        == []
    )
