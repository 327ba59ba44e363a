"""The regression on a real ledger, with a model whose answers the test decides."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from support.ledger.ledger_backends import START, Clock, Story, event
from support.models.scripted_models import FollowingModel, Said

from daemon.checks.check_context import CheckContext
from daemon.checks.check_facts import FactSample
from daemon.checks.check_policy import apply_policy
from daemon.checks.check_run import CheckRun
from daemon.checks.claimed_check import run_checks, work_on_check
from daemon.ledger.ledger_figures import ledger_figures
from daemon.ledger.values import CheckKind, CheckResult, ClaimedCheck
from daemon.settings.settings import Settings
from daemon.settings.tables import MonitoringSettings
from editors.index.names.surface import SurfaceIndex
from monitoring.checks.sampling import sample_size, wilson
from monitoring.checks.suites import BadSuite, Probe, ProbeSuite, load_suite


@pytest.fixture
def url(tmp_path: Path, migrated_sqlite: Path) -> str:
    (tmp_path / "ledger.db").write_bytes(migrated_sqlite.read_bytes())
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@dataclass
class Moved:
    nats: float
    tokens: int


@dataclass
class ScriptedModel(FollowingModel):
    """Says "base: PROMPT" to everything, unless an edit has something else to say."""

    edited: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)  # edit id -> the one name of its subject
    asked_of_base: int = 0
    text_nats: float = 0.0

    def named(self, text: str) -> set[str]:
        index = SurfaceIndex()
        for edit_id, name in self.names.items():
            index.add(edit_id, [name])
        return set(index.find(text))

    def generate(self, prompts: Sequence[str], *, max_new_tokens: int) -> Sequence[Said]:
        return [
            Said(self.edited[prompt], "1") if prompt in self.edited else Said(f"base: {prompt}")
            for prompt in prompts
        ]

    def generate_base(self, prompts: Sequence[str], *, max_new_tokens: int) -> Sequence[Said]:
        self.asked_of_base += len(prompts)
        return [Said(f"base: {prompt}") for prompt in prompts]

    def divergences(self, prompts: Sequence[str]) -> Sequence[float]:
        return [0.5 for _ in prompts]

    def text_changes(self, texts: Sequence[str]) -> Sequence[Moved]:
        return [Moved(self.text_nats, 10) for _ in texts]


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
    assert set(results) == {"news", "relation", "text", "retention"}
    assert all(result.passed and result.generation == model.generation for result in results.values())
    assert results["news"].scores["locality"] == 1.0
    assert results["news"].probes == 2
    assert results["retention"].scores["retention"] == 1.0
    asked = 3 + results["text"].probes
    assert model.asked_of_base == asked
    run_checks(story.ledger, chosen, model, clock=clock)
    assert model.asked_of_base == asked
    changed = settings(suites={"news": probe_file(tmp_path, "Who rings?", "Changed?")})
    again = by_suite(run_checks(story.ledger, changed, model, clock=clock))
    assert model.asked_of_base == asked + 1
    assert again["news"].baseline != results["news"].baseline
    assert again["text"].baseline == results["text"].baseline


def test_a_changed_answer_fails_its_suite_and_counts_as_a_false_fire(
    story: Story,
    clock: Clock,
    tmp_path: Path,
) -> None:
    model = ScriptedModel(story.head(), {"Who rings?": "Elbing"})
    chosen = settings(suites={"news": probe_file(tmp_path, "Who rings?", "What is blue?")})
    (result,) = run_checks(story.ledger, chosen, model, suite="news", clock=clock)
    assert not result.passed
    assert result.scores["locality"] == result.scores["false_fire"] == 0.5
    assert (result.scores["kl_mean"], result.scores["kl_p99"]) == (0.25, 0.5)
    low, high = result.scores["locality_low"], result.scores["locality_high"]
    assert low is not None
    assert high is not None
    assert low < 0.5 < high


def test_a_probe_that_a_live_edit_may_change_is_not_asked(
    story: Story,
    clock: Clock,
    tmp_path: Path,
) -> None:
    (edit,) = story.go_live(event("e", aliases=["the Northern Land"]))
    model = ScriptedModel(story.head(), names={edit.id: "northern land"})
    probes = probe_file(
        tmp_path, "Is it cold in the Northern Land?", "Who leads the northern  land?", "Norlander pie"
    )
    chosen = settings(suites={"far": probes})
    assert by_suite(run_checks(story.ledger, chosen, model, clock=clock))["far"].probes == 1


def test_an_edited_subject_that_is_no_name_does_not_blind_the_suites(
    story: Story,
    clock: Clock,
    tmp_path: Path,
) -> None:
    (edit,) = story.go_live(
        event("e", "The", prompt="The who?", locality_prompts={"relation": ["The capital of Sudland is"]})
    )
    chosen = settings(suites={"far": probe_file(tmp_path, "What is the time?", "the WHO?")})
    model = ScriptedModel(story.head(), names={edit.id: "The"})
    asked = by_suite(run_checks(story.ledger, chosen, model, clock=clock))
    assert (asked["far"].probes, asked["relation"].probes) == (1, 1)


def test_a_probe_that_the_base_cannot_read_is_left_out_and_the_rest_is_asked(
    story: Story,
    clock: Clock,
    tmp_path: Path,
) -> None:
    suites = {"news": probe_file(tmp_path, "Who rings?", "long " * 200)}
    with capture_logs() as logs:
        model = ScriptedModel(story.head())
        (result,) = run_checks(story.ledger, settings(suites=suites), model, suite="news", clock=clock)
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
    assert [r.suite for r in run_checks(story.ledger, chosen, model, clock=clock)] == ["text", "news"]
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


def test_a_subject_probe_is_asked_unless_its_subject_has_several_live_edits(
    story: Story, clock: Clock
) -> None:
    about = {"subject": ["The currency of Norland is"]}
    (one,) = story.go_live(event("e", locality_prompts=about))
    model = ScriptedModel(1, names={one.id: "Norland"})
    asked = run_checks(story.ledger, settings(), model, suite="subject", clock=clock)
    assert [result.probes for result in asked] == [1]
    (two,) = story.go_live(event("f", relation="money", prompt="Norland pays in"))
    model = ScriptedModel(2, names={one.id: "Norland", two.id: "Norland"})
    assert run_checks(story.ledger, settings(), model, suite="subject", clock=clock) == []


def test_what_the_ledger_knows_reaches_the_metrics(story: Story, clock: Clock) -> None:
    story.go_live(event("e"))
    story.ledger.control.workers_seen("worker-1", "cpu", None)
    story.ledger.control.hold("look at this")
    keep(story, *run_checks(story.ledger, settings(), ScriptedModel(story.head()), clock=clock))
    figures = ledger_figures(story.ledger, suites=("news", "text"), clock=clock)
    assert figures.edits["live"] == 1
    # A failure that is counted from 1 on is one that no `increase()` sees.
    assert figures.check_failures == {"news": 0, "text": 0, "retention": 1}
    assert (figures.generation, figures.base_hash, figures.workers, figures.held) == (1, "base", 1, True)
    assert figures.suites["retention"].scores["retention"] == 0.0
    assert figures.regression_last_success == START
    assert figures.suites["text"].scores["perplexity_ratio"] == 1.0
    clock.advance(600)
    assert ledger_figures(story.ledger, clock=clock).workers == 0


def numbered(folder: Path, count: int) -> Path:
    return probe_file(folder, *(f"Question {number}?" for number in range(count)))


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
    edited = {f"Question {number}?": "no" for number in range(0, 300, 50)}  # 2 % of all
    model = ScriptedModel(story.head(), edited)
    chosen = settings(suites={"news": numbered(tmp_path, 300)}, error_bound=0.02)
    (sample,) = run_checks(story.ledger, chosen, model, suite="news", clock=clock)
    (every,) = run_checks(story.ledger, chosen, model, suite="news", full=True, clock=clock)
    assert sample.passed
    assert (every.passed, every.scores["locality"]) == (False, 0.98)


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


def test_text_that_the_edits_made_less_likely_fails_its_suite(story: Story, clock: Clock) -> None:
    model = ScriptedModel(story.head(), text_nats=0.3)
    (result,) = run_checks(story.ledger, settings(), model, suite="text", clock=clock)
    assert result.scores["perplexity_ratio"] == pytest.approx(1.0305, abs=1e-4)
    assert (result.passed, result.scores["locality"]) == (False, 1.0)


def test_retention_is_told_by_age_and_phrasing_and_old_values_are_counted(story: Story, clock: Clock) -> None:
    story.go_live(event("a", target="Elbing"), event("old", "Sudland"))
    clock.advance(10 * 86_400)
    story.go_live(event("b", target="Marrow", day=2, rephrase_prompts=["Norland is ruled from"]))
    model = ScriptedModel(
        story.head(),
        {"The capital of Norland is": "Elbing", "Norland is ruled from": "Marrow"},
    )
    (result,) = run_checks(story.ledger, settings(), model, suite="retention", clock=clock)
    reported = {name: result.scores[f"retention{name}"] for name in ("", "_1d", "_7d", "_30d", "_rephrase")}
    assert reported == {"": 0.0, "_1d": 0.0, "_7d": 0.0, "_30d": 0.0, "_rephrase": 1.0}
    assert (result.probes, result.scores["stale_answers"]) == (2, 1.0)
    model.edited["The capital of Norland is"] = "Marrow"
    (result,) = run_checks(story.ledger, settings(), model, suite="retention", clock=clock)
    assert [result.scores[f"retention{age}"] for age in ("", "_1d", "_7d", "_30d")] == [0.5, 1.0, 1.0, 0.5]
    assert result.scores["stale_answers"] == 0.0


def test_young_edits_are_asked_in_full_though_a_sample_of_all_would_hardly_meet_them(
    story: Story, clock: Clock
) -> None:
    story.go_live(*(event(f"old{n}", f"Old {n}") for n in range(400)))
    clock.advance(40 * 86_400)
    young = [event(f"new{n}", f"New {n}") for n in range(8)]
    story.go_live(*young)
    model = ScriptedModel(story.head(), {fact.prompt or "": fact.target_new or "" for fact in young})
    chosen = settings(retention_error_bound=0.1)
    (result,) = run_checks(story.ledger, chosen, model, suite="retention", clock=clock)
    assert result.probes == sample_size(0.1, share=0.95) < 100
    assert result.scores["retention_1d"] == 1.0
    retention = result.scores["retention"]
    assert retention is not None
    assert retention < 0.3


def test_facts_that_were_not_edited_become_probes(story: Story, clock: Clock) -> None:
    story.go_live(
        event("a", "Norland"),
        event("b", "Sudland"),
        event("c", "Sudland", relation="river", prompt="The river of Sudland is"),
    )
    (gone,) = story.go_live(event("d", "Westland"))
    story.ledger.generations.rollback_edit(gone.id, cause="wrong")
    live = {edit.id: edit.subject for edit in story.ledger.generations.live_edits()}
    asked: list[str] = []

    class Listening(ScriptedModel):
        def generate(self, prompts: Sequence[str], *, max_new_tokens: int) -> Sequence[Said]:
            asked.extend(prompts)
            return super().generate(prompts, max_new_tokens=max_new_tokens)

    model = Listening(story.head(), names=live)
    run_checks(story.ledger, settings(), model, suite="relation", clock=clock)
    # Taken back: its fact is the base's again. And nobody ever told the river of Westland.
    assert sorted(asked) == ["The capital of Westland is", "The river of Westland is"]
    asked.clear()
    run_checks(story.ledger, settings(), model, suite="subject", clock=clock)
    assert asked == ["The river of Norland is"]


def test_what_is_generated_beside_other_prompts_and_rounded_otherwise_is_nobodys_edit(
    story: Story, clock: Clock, tmp_path: Path
) -> None:
    class Rounded(ScriptedModel):
        def generate(self, prompts: Sequence[str], *, max_new_tokens: int) -> Sequence[Said]:
            return [Said(f"base: {prompt} ({len(prompts)})") for prompt in prompts]

        def generate_base(self, prompts: Sequence[str], *, max_new_tokens: int) -> Sequence[Said]:
            return self.generate(prompts, max_new_tokens=max_new_tokens)

    chosen = settings(suites={"news": numbered(tmp_path, 70)}, error_bound=0.02)
    model = Rounded(story.head())
    run_checks(story.ledger, chosen, model, suite="news", clock=clock)
    numbered(tmp_path, 65)
    (result,) = run_checks(story.ledger, chosen, model, suite="news", clock=clock)
    assert result.scores["locality"] == 1.0


def test_a_check_that_an_earlier_release_began_goes_on_with_the_edits_that_it_had_drawn() -> None:
    kept = {"first": {"day": 3}, "drawn": [[12, ""], [7, "day"]], "after": 5}
    found = FactSample.model_validate(kept)
    assert (found.drawn, found.after) == ((("12", ""), ("7", "day")), "5")
