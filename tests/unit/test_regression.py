"""The regression on a real ledger, with a model whose answers the test decides."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_backends import START, Clock, Story, event
from structlog.testing import capture_logs

from daemon.figures import ledger_figures
from daemon.ledger.values import CheckResult
from daemon.regression import apply_policy, run_checks
from daemon.settings import MonitoringSettings, Settings
from monitoring.regression import wilson
from monitoring.suites import BadSuite, Probe, ProbeSuite, load_suite


@pytest.fixture
def url(tmp_path: Path, migrated_sqlite: Path) -> str:
    (tmp_path / "ledger.db").write_bytes(migrated_sqlite.read_bytes())
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@dataclass
class Said:
    text: str
    edit_id: str | None = None


@dataclass
class ScriptedModel:
    """Says "base: PROMPT" to everything, unless an edit has something else to say."""

    generation: int
    edited: dict[str, str] = field(default_factory=dict)
    base_hash: str = "base"
    asked_of_base: int = 0

    def fits(self, prompt: str) -> bool:
        return len(prompt) < 1_000

    def generate(self, prompts: Sequence[str], *, max_new_tokens: int) -> Sequence[Said]:
        return [
            Said(self.edited[prompt], "1") if prompt in self.edited else Said(f"base: {prompt}")
            for prompt in prompts
        ]

    def generate_base(self, prompts: Sequence[str], *, max_new_tokens: int) -> Sequence[Said]:
        self.asked_of_base += len(prompts)
        return [Said(f"base: {prompt}") for prompt in prompts]


def probe_file(folder: Path, *prompts: str) -> Path:
    path = folder / "probes.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": prompt}) for prompt in prompts))
    return path


def settings(**monitoring: object) -> Settings:
    return Settings(monitoring=MonitoringSettings.model_validate(monitoring))


def by_suite(results: Sequence[CheckResult]) -> dict[str, CheckResult]:
    return {result.suite: result for result in results}


def test_a_model_that_leaves_the_probes_alone_passes_and_the_base_is_asked_once(
    story: Story,
    clock: Clock,
    tmp_path: Path,
) -> None:
    story.go_live(event("e", locality_prompts={"relation": ["The capital of Sudland is"]}))
    model = ScriptedModel(story.head(), {"The capital of Norland is": "Elbing"})
    chosen = settings(suites={"news": probe_file(tmp_path, "Who rings?", "What is blue?")})
    results = by_suite(run_checks(story.ledger, chosen, model, clock=clock))
    assert set(results) == {"news", "relation", "retention"}
    assert all(result.passed and result.generation == model.generation for result in results.values())
    assert results["news"].scores["locality"] == 1.0
    assert results["news"].probes == 2
    assert results["retention"].scores["retention"] == 1.0
    assert model.asked_of_base == 3
    run_checks(story.ledger, chosen, model, clock=clock)
    assert model.asked_of_base == 3
    run_checks(story.ledger, settings(suites={"news": probe_file(tmp_path, "Changed?")}), model, clock=clock)
    assert model.asked_of_base == 4


def test_a_changed_answer_fails_its_suite_and_counts_as_a_false_fire(
    story: Story,
    clock: Clock,
    tmp_path: Path,
) -> None:
    model = ScriptedModel(story.head(), {"Who rings?": "Elbing"})
    chosen = settings(suites={"news": probe_file(tmp_path, "Who rings?", "What is blue?")})
    (result,) = run_checks(story.ledger, chosen, model, clock=clock)
    assert not result.passed
    assert result.scores["locality"] == result.scores["false_fire"] == 0.5
    low, high = result.scores["locality_low"], result.scores["locality_high"]
    assert low is not None
    assert high is not None
    assert low < 0.5 < high


def test_a_probe_that_a_live_edit_may_change_is_not_asked(
    story: Story,
    clock: Clock,
    tmp_path: Path,
) -> None:
    story.go_live(event("e", aliases=["the Northern Land"]))
    model = ScriptedModel(story.head())
    probes = probe_file(tmp_path, "Is it cold in NORLAND?", "Who leads the northern  land?", "Norlander pie")
    chosen = settings(suites={"far": probes})
    assert by_suite(run_checks(story.ledger, chosen, model, clock=clock))["far"].probes == 1


def test_an_edited_subject_that_is_no_name_does_not_blind_the_suites(
    story: Story,
    clock: Clock,
    tmp_path: Path,
) -> None:
    story.go_live(
        event("e", "The", prompt="The who?", locality_prompts={"relation": ["The capital of Sudland is"]})
    )
    chosen = settings(suites={"far": probe_file(tmp_path, "What is the time?", "the WHO?")})
    asked = by_suite(run_checks(story.ledger, chosen, ScriptedModel(story.head()), clock=clock))
    assert (asked["far"].probes, asked["relation"].probes) == (1, 1)


def test_a_probe_that_the_base_cannot_read_is_left_out_and_the_rest_is_asked(
    story: Story,
    clock: Clock,
    tmp_path: Path,
) -> None:
    suites = {"news": probe_file(tmp_path, "Who rings?", "long " * 200)}
    with capture_logs() as logs:
        (result,) = run_checks(
            story.ledger, settings(suites=suites), ScriptedModel(story.head()), clock=clock
        )
    assert (result.passed, result.probes) == (True, 1)
    (warning,) = [line for line in logs if line["log_level"] == "warning"]
    assert (warning["suite"], warning["left_out"]) == ("news", 1)


def test_a_forgotten_fact_fails_retention(story: Story, clock: Clock) -> None:
    story.go_live(event("e"))
    results = by_suite(run_checks(story.ledger, settings(), ScriptedModel(story.head()), clock=clock))
    assert results["retention"].scores["retention"] == 0.0
    assert not results["retention"].passed


def test_one_suite_can_be_asked_alone_and_an_unknown_one_is_refused(
    story: Story,
    clock: Clock,
    tmp_path: Path,
) -> None:
    story.go_live(event("e"))
    model = ScriptedModel(story.head())
    chosen = settings(suites={"news": probe_file(tmp_path, "Who rings?")})
    (result,) = run_checks(story.ledger, chosen, model, suite="news", clock=clock)
    assert result.suite == "news"
    with pytest.raises(BadSuite, match="no suite is called 'nows'"):
        run_checks(story.ledger, chosen, model, suite="nows", clock=clock)


def test_a_broken_probe_file_costs_its_own_suite_only(
    story: Story,
    clock: Clock,
    tmp_path: Path,
) -> None:
    chosen = settings(suites={"gone": tmp_path / "gone.jsonl", "news": probe_file(tmp_path, "Who rings?")})
    model = ScriptedModel(story.head())
    assert [r.suite for r in run_checks(story.ledger, chosen, model, clock=clock)] == ["news"]
    with pytest.raises(BadSuite, match="cannot be read"):
        run_checks(story.ledger, chosen, model, suite="gone", clock=clock)


def failed(generation: int, suite: str = "far", *, passed: bool = False) -> CheckResult:
    return CheckResult(suite, generation, START, passed, {"locality": 0.5}, 10)


def keep(story: Story, *results: CheckResult) -> Sequence[CheckResult]:
    story.ledger.checks.request(None, "test")
    check = story.ledger.checks.claim("worker", lease_seconds=60)
    assert check is not None
    story.ledger.checks.finish(check.id, check.token, results)
    return results


def test_observe_changes_nothing_and_hold_stops_the_batches(story: Story) -> None:
    story.go_live(event("e"))
    results = keep(story, failed(story.head()))
    assert apply_policy(story.ledger, settings(on_failure="observe"), results) == "observed"
    assert story.ledger.control.held() is None
    assert apply_policy(story.ledger, settings(on_failure="hold"), results) == "held"
    assert "far of generation 1" in (story.ledger.control.held() or "")


def test_a_pass_changes_nothing_whatever_the_policy(story: Story) -> None:
    results = keep(story, failed(story.head(), passed=True))
    assert apply_policy(story.ledger, settings(on_failure="rollback"), results) == "passed"


def test_rollback_returns_to_the_last_generation_all_of_whose_checks_passed(story: Story) -> None:
    (good,) = story.go_live(event("good", "Land1"))
    keep(story, failed(1, "far", passed=True), failed(1, "relation", passed=True))
    (doubtful,) = story.go_live(event("doubtful", "Land2"))
    keep(story, failed(2, "far", passed=True), failed(2, "relation"))
    (bad,) = story.go_live(event("bad", "Land3"))
    results = keep(story, failed(3))
    assert apply_policy(story.ledger, settings(on_failure="rollback"), results) == "rolled back"
    assert [story.state(edit) for edit in (good, doubtful, bad)] == ["live", "retracted", "retracted"]
    assert apply_policy(story.ledger, settings(on_failure="rollback"), results) == "observed"
    assert story.head() == 4


def test_a_generation_is_not_good_for_a_suite_that_was_never_asked_of_it(story: Story) -> None:
    (first,) = story.go_live(event("first", "Land1"))
    keep(story, failed(1, "far", passed=True))
    story.go_live(event("second", "Land2"))
    keep(story, failed(2, "relation", passed=True))
    (bad,) = story.go_live(event("bad", "Land3"))
    results = keep(story, failed(3, "far"))
    assert apply_policy(story.ledger, settings(on_failure="rollback"), results) == "rolled back"
    assert (story.state(first), story.state(bad)) == ("live", "retracted")
    assert story.ledger.generations.live() == story.ledger.generations.live_at(1)


def test_without_a_generation_that_passed_rollback_holds_instead(story: Story) -> None:
    (edit,) = story.go_live(event("e"))
    results = keep(story, failed(1))
    assert apply_policy(story.ledger, settings(on_failure="rollback"), results) == "held"
    assert story.state(edit) == "live"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "holds no probes"),
        ('{"prompt": "a"}\nnonsense', "line 2: no valid JSON"),
        ("[" * 100_000, "line 1: no valid JSON"),
        ("[1]", "line 1: a probe is an object"),
        ('{"prompt": " "}', "line 1: the prompt must be"),
        ('{"prompt": "a", "kind": "near"}', "line 1: the kind must be one of far, relation, subject"),
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
    one, two = small.sample(100, seed=7), large.sample(100, seed=7)
    assert one == small.sample(100, seed=7)
    assert one != small.sample(100, seed=8)
    assert len(set(one.probes) & set(two.probes)) >= 99


@given(hits=st.integers(0, 500), misses=st.integers(0, 500))
def test_the_wilson_interval_holds_the_ratio_and_stays_between_0_and_1(hits: int, misses: int) -> None:
    if trials := hits + misses:
        low, high = wilson(hits, trials)
        assert 0 <= low <= hits / trials + 1e-12
        assert hits / trials - 1e-12 <= high <= 1


def test_the_wilson_interval_of_98_in_100_is_the_known_one() -> None:
    assert wilson(98, 100) == pytest.approx((0.9300, 0.9945), abs=1e-4)


def test_a_subject_probe_is_asked_unless_its_subject_has_several_live_edits(
    story: Story, clock: Clock
) -> None:
    about = {"subject": ["The currency of Norland is"]}
    story.go_live(event("e", locality_prompts=about))
    asked = run_checks(story.ledger, settings(), ScriptedModel(1), suite="subject", clock=clock)
    assert [result.probes for result in asked] == [1]
    story.go_live(event("f", relation="money", prompt="Norland pays in"))
    assert run_checks(story.ledger, settings(), ScriptedModel(2), suite="subject", clock=clock) == []


def test_what_the_ledger_knows_reaches_the_metrics(story: Story, clock: Clock) -> None:
    story.go_live(event("e"))
    story.ledger.control.workers_seen("worker-1", "cpu", None)
    story.ledger.control.hold("look at this")
    keep(story, *run_checks(story.ledger, settings(), ScriptedModel(story.head()), clock=clock))
    figures = ledger_figures(story.ledger, clock=clock)
    assert figures.edits["live"] == 1
    assert (figures.generation, figures.base_hash, figures.workers, figures.held) == (1, "base", 1, True)
    assert figures.suites["retention"].retention == 0.0
    assert figures.regression_last_success == START
    clock.advance(600)
    assert ledger_figures(story.ledger, clock=clock).workers == 0
