"""A check in slices: it goes on where it stood, also where an earlier release began it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.checks_support import ScriptedModel, numbered, settings, url
from support.ledger.ledger_backends import Clock, Story, event

from daemon.checks.check_context import CheckContext
from daemon.checks.check_facts import FactSample
from daemon.checks.check_run import CheckRun
from daemon.checks.claimed_check import work_on_check
from daemon.ledger.errors import LedgerUnavailable
from daemon.ledger.values import CheckKind, ClaimedCheck

__all__ = ["url"]  # fixtures


def test_a_check_goes_on_in_slices_and_speaks_of_one_generation_only(
    story: Story, clock: Clock, tmp_path: Path
) -> None:
    story.go_live(*(event(f"e{n}", f"Land {n}") for n in range(100)))
    chosen = settings(suites={"news": numbered(tmp_path, 200)})
    story.ledger.checks.request(None, "test")
    slices, asked_at = 0, []
    while claimed := story.ledger.checks.claim("w", lease_seconds=60):
        model = ScriptedModel(story.head())  # each slice is another worker's
        answered = work_on_check(story.ledger, chosen, model, claimed, clock=clock, time_is_up=lambda: True)
        asked_at.append(model.generation)
        slices += 1
        if slices == 2:
            story.go_live(event("urgent", "Land 200"))
    assert answered[1] == "observed"  # the scripted model knows no fact: retention fails
    assert slices > 5
    assert {result.generation for result in answered[0]} == {1}
    assert {r.suite: r.probes for r in answered[0]} == {"text": 40, "news": 200, "retention": 100}


def test_a_probe_file_that_changes_in_the_middle_of_a_check_is_asked_from_the_beginning(
    story: Story, clock: Clock, tmp_path: Path
) -> None:
    chosen = settings(suites={"news": numbered(tmp_path, 200)})
    story.ledger.checks.request("news", "test")
    for _ in range(3):
        claimed = story.ledger.checks.claim("w", lease_seconds=60)
        assert claimed is not None
        work_on_check(story.ledger, chosen, ScriptedModel(0), claimed, clock=clock, time_is_up=lambda: True)
    numbered(tmp_path, 100)
    claimed = story.ledger.checks.claim("w", lease_seconds=60)
    assert claimed is not None
    (result,), _ = work_on_check(story.ledger, chosen, ScriptedModel(0), claimed, clock=clock)
    assert result.probes == 100


def test_what_must_follow_from_a_failed_check_is_not_lost_with_the_ledger(
    story: Story, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    story.go_live(event("e"))
    chosen = settings(on_failure="hold")
    story.ledger.checks.request("retention", "test")

    def work() -> None:
        claimed = story.ledger.checks.claim("w", lease_seconds=60)
        assert claimed is not None
        work_on_check(story.ledger, chosen, ScriptedModel(story.head()), claimed, clock=clock)

    with monkeypatch.context() as patched:
        patched.setattr(story.ledger.control, "hold", _away)
        with pytest.raises(LedgerUnavailable):
            work()
    assert story.ledger.control.held() is None
    clock.advance(chosen.worker.lease_seconds + 1)
    work()
    assert "retention of generation 1" in (story.ledger.control.held() or "")
    assert [result.passed for result in story.ledger.checks.results(10)] == [False]


def _away(*_: object, **__: object) -> None:
    raise LedgerUnavailable("the ledger is not available")


def _as_earlier_releases_stored_it(progress: dict[str, Any]) -> dict[str, Any]:
    state = dict(progress["state"])
    kind = state.pop("kind")
    rest = {name: value for name, value in progress.items() if name != "state"}
    return {
        **rest,
        "probes": state if kind == "asking_probes" else None,
        "facts": state if kind == "asking_facts" else None,
    }


def test_a_check_that_an_earlier_release_began_is_ended_with_the_same_results(
    story: Story, clock: Clock, tmp_path: Path
) -> None:
    story.go_live(*(event(f"e{n}", f"Land {n}") for n in range(100)))
    chosen = settings(suites={"news": numbered(tmp_path, 200)})
    model = ScriptedModel(story.head())
    claimed, kinds = ClaimedCheck(7, None, 0, CheckKind.SAMPLE), set[str]()
    whole = CheckRun(CheckContext(story.ledger, chosen, model, claimed, clock=clock))
    while whole.step():
        pass
    while True:
        run = CheckRun(CheckContext(story.ledger, chosen, model, claimed, clock=clock))
        if not run.step():
            break
        stored = run.progress.model_dump(mode="json")
        kinds.add(stored["state"]["kind"])
        claimed = replace(claimed, progress=_as_earlier_releases_stored_it(stored))
    assert run.progress == whole.progress
    assert kinds == {"suite_due", "asking_probes", "asking_facts", "finished"}


def test_a_check_that_an_earlier_release_began_goes_on_with_the_edits_that_it_had_drawn() -> None:
    kept = {"first": {"day": 3}, "drawn": [[12, ""], [7, "day"]], "after": 5}
    found = FactSample.model_validate(kept)
    assert (found.drawn, found.after) == ((("12", ""), ("7", "day")), "5")
