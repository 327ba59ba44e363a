"""What follows a check that failed: nothing, batches are held, or a generation comes back."""

from support.checks_support import keep, settings, url
from support.ledger.ledger_backends import START, Story, event

from daemon.checks.check_policy import apply_policy
from daemon.ledger.values import CheckResult

__all__ = ["url"]  # fixtures


def failed(generation: int, suite: str = "far", *, passed: bool = False) -> CheckResult:
    return CheckResult(suite, generation, START, passed, {"locality": 0.5}, 10)


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
