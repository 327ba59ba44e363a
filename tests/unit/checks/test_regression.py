"""The regression on a real ledger, with a model whose answers the test decides."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from support.checks_support import ScriptedModel, by_suite, keep, numbered, probe_file, settings, url
from support.ledger.ledger_backends import START, Clock, Story, event
from support.models.scripted_models import Said

from daemon.checks.claimed_check import run_checks
from daemon.ledger.ledger_figures import ledger_figures
from daemon.ledger.values import Act
from edits.prompts import Prompt
from monitoring.checks.sampling import sample_size
from monitoring.checks.suites import BadSuite

__all__ = ["url"]  # fixtures


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
    story.ledger.reversals.undo_fact(gone.id, Act("test", "wrong"))
    live = {edit.id: edit.subject for edit in story.ledger.generations.live_edits()}
    asked: list[Prompt] = []

    class Listening(ScriptedModel):
        def generate(self, prompts: Sequence[Prompt], *, max_new_tokens: int) -> Sequence[Said]:
            asked.extend(prompts)
            return super().generate(prompts, max_new_tokens=max_new_tokens)

    model = Listening(story.head(), names=live)
    run_checks(story.ledger, settings(), model, suite="relation", clock=clock)
    # Taken back: its fact is the base's again. And nobody ever told the river of Westland.
    assert sorted(map(str, asked)) == ["The capital of Westland is", "The river of Westland is"]
    asked.clear()
    run_checks(story.ledger, settings(), model, suite="subject", clock=clock)
    assert asked == ["The river of Norland is"]


def test_what_is_generated_beside_other_prompts_and_rounded_otherwise_is_nobodys_edit(
    story: Story, clock: Clock, tmp_path: Path
) -> None:
    class Rounded(ScriptedModel):
        def generate(self, prompts: Sequence[Prompt], *, max_new_tokens: int) -> Sequence[Said]:
            return [Said(f"base: {prompt} ({len(prompts)})") for prompt in prompts]

        def generate_base(self, prompts: Sequence[str], *, max_new_tokens: int) -> Sequence[Said]:
            return self.generate(prompts, max_new_tokens=max_new_tokens)

    chosen = settings(suites={"news": numbered(tmp_path, 70)}, error_bound=0.02)
    model = Rounded(story.head())
    run_checks(story.ledger, chosen, model, suite="news", clock=clock)
    numbered(tmp_path, 65)
    (result,) = run_checks(story.ledger, chosen, model, suite="news", clock=clock)
    assert result.scores["locality"] == 1.0
