"""Probe files and samples of them: which are refused, how many are asked, and what a share then says."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.checks_support import ScriptedModel, numbered, settings, url
from support.ledger.ledger_backends import Clock, Story

from daemon.checks.claimed_check import run_checks, work_on_check
from daemon.ledger.values import CheckResult
from edits.prompts import Prompt
from monitoring.checks.sampling import sample_size, wilson
from monitoring.checks.suites import BadSuite, Probe, ProbeSuite, load_suite

__all__ = ["url"]  # fixtures


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "holds no probes"),
        ('{"prompt": "a"}\nnonsense', "line 2: no valid JSON"),
        ("[" * 100_000, "line 1: no valid JSON"),
        ("[1]", "line 1: a probe is an object"),
        ('{"prompt": " "}', "line 1: the prompt must be"),
        ('{"prompt": "a", "kind": "near"}', "line 1: the kind must be one of far, relation, subject, text"),
        ('{"prompt": "a", "answer": 1}', "line 1: the answer must be a text"),
    ],
)
def test_a_probe_file_is_refused_with_the_place_and_the_reason(
    tmp_path: Path, content: str, complaint: str
) -> None:
    path = tmp_path / "probes.jsonl"
    path.write_text(content)
    with pytest.raises(BadSuite, match=complaint):
        load_suite("far", path)


def test_a_sample_is_the_same_for_its_seed_and_changes_little_as_the_suite_grows() -> None:
    small = ProbeSuite("far", tuple(Probe(f"prompt {number}") for number in range(1_000)))
    large = ProbeSuite("far", (Probe("new"), *small.probes))
    one, two = small.in_sample_order(seed=7)[:100], large.in_sample_order(seed=7)[:100]
    assert one == small.in_sample_order(seed=7)[:100]
    assert one != small.in_sample_order(seed=8)[:100]
    assert len(set(one) & set(two)) >= 99


@given(hits=st.integers(0, 500), misses=st.integers(0, 500))
def test_the_wilson_interval_holds_the_ratio_and_stays_between_0_and_1(hits: int, misses: int) -> None:
    if trials := hits + misses:
        low, high = wilson(hits, trials)
        assert 0 <= low <= hits / trials + 1e-12
        assert hits / trials - 1e-12 <= high <= 1


def test_the_wilson_interval_of_98_in_100_is_the_known_one() -> None:
    assert wilson(98, 100) == pytest.approx((0.9300, 0.9945), abs=1e-4)


def test_a_sample_is_as_large_as_its_error_needs_and_a_full_check_asks_everything(
    story: Story, clock: Clock, tmp_path: Path
) -> None:
    chosen = settings(suites={"news": numbered(tmp_path, 300)}, error_bound=0.02)
    size = sample_size(0.02, share=0.99)
    low, high = wilson(round(0.99 * size), size)
    assert (high - low) / 2 == pytest.approx(0.02, abs=2e-3)
    model = ScriptedModel(story.head())
    (sample,) = run_checks(story.ledger, chosen, model, suite="news", clock=clock)
    (every,) = run_checks(story.ledger, chosen, model, suite="news", full=True, clock=clock)
    assert (sample.probes, every.probes) == (size, 300)


def test_a_sample_fails_only_where_its_error_cannot_explain_the_drop(
    story: Story, clock: Clock, tmp_path: Path
) -> None:
    edited: dict[Prompt, str] = {f"Question {number}?": "no" for number in range(0, 300, 50)}  # 2 % of all
    model = ScriptedModel(story.head(), edited)
    chosen = settings(suites={"news": numbered(tmp_path, 300)}, error_bound=0.02)
    (sample,) = run_checks(story.ledger, chosen, model, suite="news", clock=clock)
    (every,) = run_checks(story.ledger, chosen, model, suite="news", full=True, clock=clock)
    assert sample.passed
    assert (every.passed, every.scores["locality"]) == (False, 0.98)


def test_a_rise_against_the_past_is_an_alarm_though_the_floor_holds(
    story: Story, clock: Clock, tmp_path: Path
) -> None:
    chosen = settings(suites={"news": numbered(tmp_path, 500)}, locality_floor=0.9)

    def check(changed: int) -> CheckResult:
        model = ScriptedModel(story.head(), {f"Question {number}?": "no" for number in range(changed)})
        story.ledger.checks.request("news", "test")
        claimed = story.ledger.checks.claim("w", lease_seconds=60)
        assert claimed is not None
        (result,), _ = work_on_check(story.ledger, chosen, model, claimed, clock=clock)
        return result

    first = check(5)
    assert (first.passed, first.scores["drift"], first.scores["drift_alarm"]) == (True, None, 0.0)
    for _ in range(5):
        assert check(5).passed
    risen = check(12)
    assert (risen.scores["locality"], risen.scores["drift_alarm"], risen.passed) == (0.976, 1.0, False)
    assert check(5).passed
