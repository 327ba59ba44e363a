"""Who did it: the search among candidates, and what the ledger says afterwards."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from math import ceil, log2
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.ledger.ledger_backends import Clock, Story, event
from support.ledger.ledger_invariants import check_invariants
from support.models.scripted_models import FollowingModel, Said

from daemon.checks.check_policy import CheckOutcome
from daemon.checks.claimed_check import work_on_check
from daemon.ledger.values import Edit
from daemon.settings.settings import Settings
from daemon.settings.tables import MonitoringSettings
from edits.prompts import Prompt
from monitoring.checks.bisection import Oracle, bisect
from monitoring.checks.regression import Changed

PROMPTS = [f"Question {number}?" for number in range(40)]


@pytest.fixture
def url(tmp_path: Path, migrated_sqlite: Path) -> str:
    (tmp_path / "ledger.db").write_bytes(migrated_sqlite.read_bytes())
    return f"sqlite:///{tmp_path / 'ledger.db'}"


def found(candidates: Sequence[str], fails: Callable[[frozenset[str]], bool]) -> tuple[set[str], int]:
    """The culprits, and in how many trials they were found."""
    oracle = Oracle(lambda group: str(int(fails(group))))
    culprits = bisect(candidates, lambda group: oracle(group) == "1")
    return set(culprits), len(oracle.trials)


@given(
    n=st.integers(1, 64),
    offending=st.sets(st.integers(0, 63), min_size=1, max_size=4),
)
def test_the_culprits_and_nobody_else_are_found_in_about_k_log_n_trials(n: int, offending: set[int]) -> None:
    candidates = [str(number) for number in range(n)]
    culprits = {str(number % n) for number in offending}
    blamed, trials = found(candidates, lambda group: bool(group & culprits))
    assert blamed == culprits
    assert trials <= len(culprits) * (ceil(log2(n)) + 2)


@given(n=st.integers(1, 64))
def test_a_failure_that_nobody_sees_again_puts_the_blame_on_nobody(n: int) -> None:
    assert found([str(number) for number in range(n)], lambda group: False)[0] == set()


@given(n=st.integers(1, 32))
def test_harm_that_no_candidate_does_puts_the_blame_on_nobody(n: int) -> None:
    blamed, _ = found([str(number) for number in range(n)], lambda group: True)
    assert blamed == set()


@given(n=st.integers(4, 40), data=st.data())
def test_of_two_who_do_harm_only_together_no_bystander_is_ever_blamed(n: int, data: st.DataObject) -> None:
    candidates = [str(number) for number in range(n)]
    pair = set(data.draw(st.permutations(candidates))[:2])
    alone = set(data.draw(st.lists(st.sampled_from(candidates), max_size=2)))
    blamed, _ = found(candidates, lambda group: pair <= group or bool(group & alone))
    assert blamed <= pair | alone


def test_an_oracle_that_is_begun_with_earlier_trials_repeats_none_of_them() -> None:
    first, ran = Oracle(lambda group: "".join(sorted(group))), list[frozenset[str]]()
    assert [first(["b", "a"]), first({"a", "b"}), first([])] == ["ab", "ab", ""]
    again = Oracle(lambda group: str(ran.append(group)), first.trials)
    assert (again(["a", "b"]), again([]), ran) == ("ab", "", [])


@dataclass
class HarmfulModel(FollowingModel):
    """Says "yes" to everything, unless an edit at work spoils the answer; knows no more than the ledger does."""

    story: Story = field(kw_only=True)
    spoils: dict[str, set[str]] = field(default_factory=dict)  # edit id -> prompts
    silenced: dict[str, str] = field(default_factory=dict)  # edit id -> by whom

    def named(self, text: str) -> set[str]:
        return set()

    def generate(self, prompts: Sequence[Prompt], *, max_new_tokens: int) -> Sequence[Said]:
        live = set(self.story.ledger.generations.live_at(self.generation)) - self.off
        return [self._say(prompt, live) for prompt in prompts]

    def _say(self, prompt: Prompt, live: set[str]) -> Said:
        for edit_id, prompts in self.spoils.items():
            if edit_id in live and prompt in prompts:
                return Said("no", None)  # harm of the kind that no answer confesses
        for edit in self.story.ledger.audit.facts():
            if edit.id in live and edit.prompt == prompt:
                by = self.silenced.get(edit.id)
                return Said("no") if by in live else Said(edit.target_new or "", edit.id)
        return Said("yes")

    def generate_base(self, prompts: Sequence[str], *, max_new_tokens: int) -> Sequence[Said]:
        return [Said("yes") for _ in prompts]

    def divergences(self, prompts: Sequence[str]) -> Sequence[float]:
        return [0.0 for _ in prompts]

    def text_changes(self, texts: Sequence[str]) -> Sequence[Changed]:
        return []


def _is_over(taken: Iterator[int], steps: int) -> bool:
    return next(taken) >= steps


class Site:
    """A ledger, a suite of forty questions, and a worker's checks."""

    def __init__(self, story: Story, clock: Clock, folder: Path, *, on_failure: str = "rollback") -> None:
        path = folder / "far.jsonl"
        path.write_text("\n".join(json.dumps({"prompt": prompt}) for prompt in PROMPTS))
        monitoring = MonitoringSettings.model_validate(
            {"suites": {"far": path}, "on_failure": on_failure, "text": _text(folder)}
        )
        self.story, self.clock = story, clock
        self.settings = Settings(monitoring=monitoring)
        self.model = HarmfulModel(story=story)

    def check(self, *, steps: int = 10_000) -> list[CheckOutcome]:
        """Ask for a check of the head and run all that is open, at most so many steps a slice."""
        self.model.generation = self.story.head()
        self.story.ledger.checks.request(None, "test")
        outcomes: list[CheckOutcome] = []
        while claimed := self.story.ledger.checks.claim("w", lease_seconds=60):
            _, outcome = work_on_check(
                self.story.ledger,
                self.settings,
                self.model,
                claimed,
                clock=self.clock,
                time_is_up=partial(_is_over, count(1), steps),
            )
            outcomes += [outcome] if outcome != "paused" else []
            self.model.generation = self.story.head()
        return outcomes

    def batch(self, name: str, size: int) -> list[Edit]:
        return self.story.go_live(*(event(f"{name}{n}", f"{name} {n}") for n in range(size)))


def _text(folder: Path) -> Path:
    (folder / "text.txt").write_text("It rained.\n\nIt snowed.")
    return folder / "text.txt"


@pytest.fixture
def site(story: Story, clock: Clock, tmp_path: Path) -> Site:
    return Site(story, clock, tmp_path)


@pytest.mark.parametrize("steps", [10_000, 1])
def test_a_rollback_is_followed_by_blame_and_the_cleared_are_live_in_the_end(site: Site, steps: int) -> None:
    early = site.batch("Early", 3)
    assert site.check() == ["passed"]
    late = site.batch("Late", 16)
    site.model.spoils = {late[5].id: {PROMPTS[1]}, late[11].id: {PROMPTS[1], PROMPTS[2]}}

    assert site.check(steps=steps) == ["rolled back", "blame settled", "passed"]

    culprits = {late[5].id, late[11].id}
    states = {edit.id: site.story.state(edit) for edit in (*early, *late)}
    assert {edit_id for edit_id, state in states.items() if state != "live"} == culprits
    entry = site.story.ledger.audit.history(late[5].id)[-1]
    assert entry.to_state.value == "quarantined"
    assert entry.detail["blame"]["suites"] == ["far"]
    assert "is answered 'no', not 'yes'" in (site.story.ledger.audit.edit(late[5].id).reason or "")
    assert site.story.ledger.control.held() is None
    assert site.model.trials <= 1 + 2 * (4 + 2)
    check_invariants(site.story.ledger)


def test_hold_keeps_the_cleared_live_and_waits_for_somebody(
    story: Story, clock: Clock, tmp_path: Path
) -> None:
    site = Site(story, clock, tmp_path, on_failure="hold")
    edits = site.batch("Land", 5)
    site.model.spoils = {edits[2].id: {PROMPTS[0], PROMPTS[1]}}
    assert site.check() == ["held", "blame settled", "passed"]
    assert [site.story.state(edit) for edit in edits] == ["live", "live", "quarantined", "live", "live"]
    assert "far of generation 1" in (site.story.ledger.control.held() or "")


def test_observe_looks_for_nobody(story: Story, clock: Clock, tmp_path: Path) -> None:
    site = Site(story, clock, tmp_path, on_failure="observe")
    (edit,) = site.batch("Land", 1)
    site.model.spoils = {edit.id: {PROMPTS[0], PROMPTS[1]}}
    assert site.check() == ["observed"]
    assert (site.story.state(edit), site.model.trials) == ("live", 0)


def test_the_one_that_stops_an_old_edit_firing_is_blamed_and_not_the_affected_one(site: Site) -> None:
    (old,) = site.batch("Old", 1)
    assert site.check() == ["passed"]
    new = site.batch("New", 6)
    site.model.silenced = {old.id: new[3].id, new[1].id: new[3].id}
    assert site.check() == ["rolled back", "blame settled", "passed"]
    assert [site.story.state(edit) for edit in (old, *new)] == ["live"] * 4 + ["quarantined"] + ["live"] * 2


def test_a_failure_that_no_new_edit_causes_brings_everybody_back_and_holds(site: Site) -> None:
    (old,) = site.batch("Old", 1)
    assert site.check() == ["passed"]
    new = site.batch("New", 4)
    site.model.spoils = {old.id: set(PROMPTS[:3])}  # the old one has gone bad since
    outcomes = site.check()
    assert outcomes[:2] == ["rolled back", "nobody is to blame"]
    assert [site.story.state(edit) for edit in (old, *new)] == ["live"] * 5
    assert "somebody has to look" in (site.story.ledger.control.held() or "")
