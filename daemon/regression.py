"""The locality regression: is everything that was not edited as it was, and everything edited as it was told?

Suites: those of `monitoring.suites` in the settings, and four that Upkeep keeps by itself: `far`, `relation`
and `subject` from the locality prompts of the live edits, `retention` from the live edits themselves. A probe
file under the name of one of the first three adds to it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Literal

import structlog

from daemon.events import prompt_key
from daemon.ledger import Ledger
from daemon.ledger.values import CheckResult, Edit
from daemon.settings import Settings
from editors.errors import PermanentError
from editors.surface import SurfaceIndex, words_of
from monitoring.regression import AnswersPrompts, base_answers, edited_answers, run_suite, wilson
from monitoring.suites import KINDS, BadSuite, Probe, ProbeSuite, distinct, load_suite

RETENTION = "retention"
OWN_SUITES = (*KINDS, RETENTION)
REMEMBERED_RESULTS = 2_000  # how far back a generation that passed is looked for
# Names of nothing: were one of these an edited subject, hardly any probe would be left to ask.
FUNCTION_WORDS = frozenset(
    (
        *(
            "a",
            "an",
            "and",
            "any",
            "are",
            "as",
            "at",
            "be",
            "but",
            "by",
            "can",
            "did",
            "do",
            "for",
            "from",
            "had",
        ),
        *(
            "has",
            "he",
            "her",
            "his",
            "how",
            "i",
            "if",
            "in",
            "is",
            "it",
            "its",
            "my",
            "no",
            "not",
            "of",
            "on",
            "or",
        ),
        *("our", "out", "she", "so", "that", "the", "they", "this", "to", "was", "we", "what", "with", "you"),
    )
)

Outcome = Literal["passed", "observed", "held", "rolled back"]

_log = structlog.get_logger(__name__)


def run_checks(
    ledger: Ledger,
    settings: Settings,
    model: AnswersPrompts,
    *,
    suite: str | None = None,
    clock: Callable[[], datetime],
) -> list[CheckResult]:
    """Check the generation that `model` serves; one result per suite that has something to ask.

    With `suite` only that one. Without, a probe file that cannot be read costs its own suite, with an error
    in the log, and no other. What the base cannot read is left out, with a warning. The base answers once per
    sample of probes; the ledger keeps what it said.

    Raises:
        BadSuite: `suite` is unknown or its probe file cannot be read; or a probe file is called `retention`.
        TemporaryError: the ledger or the device is unwell.
    """
    if RETENTION in settings.monitoring.suites:
        raise BadSuite("monitoring.suites: `retention` asks the live edits; give the probe file another name")
    known = tuple(dict.fromkeys((*OWN_SUITES, *settings.monitoring.suites)))
    if suite is not None and suite not in known:
        raise BadSuite(f"no suite is called {suite!r}; known: {', '.join(known)}")
    live_then = ledger.generations.live_at(model.generation)
    live = [edit for edit in ledger.generations.live_edits() if edit.edit_id in live_then]
    wanted = known if suite is None else (suite,)
    suites = _suites(settings, live, wanted, strict=suite is not None)
    readable = (_readable(probes, model) for probes in suites)
    results = [_check(ledger, settings, model, probes, clock) for probes in readable if probes.probes]
    if RETENTION in wanted and (facts := _readable(_live_facts(settings, live), model)).probes:
        results.append(_retention(settings, model, facts, clock))
    return results


def apply_policy(ledger: Ledger, settings: Settings, results: Sequence[CheckResult]) -> Outcome:
    """Do what `monitoring.on_failure` says about these results, which the ledger already has.

    Rolls back to the newest earlier generation whose newest results all passed, those of each suite that failed
    now among them, and only while an edit published since then is still live; where no such generation is
    known, batches are held instead.
    """
    failed = [result for result in results if not result.passed]
    if not failed:
        return "passed"
    said = ", ".join(f"{result.suite} of generation {result.generation}" for result in failed)
    policy = settings.monitoring.on_failure
    _log.error("a regression check failed", failed=said, policy=policy)
    if policy == "observe":
        return "observed"
    if policy == "rollback":
        good = _last_good(
            ledger.checks.results(REMEMBERED_RESULTS),
            before=failed[0].generation,
            suites={result.suite for result in failed},
        )
        if good is not None:
            return _roll_back(ledger, good, failed[0].generation, cause=f"regression failed: {said}")
    ledger.control.hold(f"regression failed: {said}")
    return "held"


def _suites(
    settings: Settings, live: Sequence[Edit], wanted: Iterable[str], *, strict: bool
) -> Iterator[ProbeSuite]:
    """The sampled suites that have probes; those that a live edit may rightly change are left out."""
    scope = _Scope(live)
    for name in wanted:
        if name == RETENTION:
            continue
        try:
            probes = (*_configured(name, settings), *_own_probes(name, live))
        except PermanentError:
            if strict:
                raise
            _log.exception("a suite is left out", suite=name)
            continue
        untouched = ProbeSuite(name, distinct(probe for probe in probes if not scope.holds(probe)))
        if untouched.probes:
            yield untouched.sample(settings.monitoring.probe_sample, seed=settings.planner.seed)


def _configured(name: str, settings: Settings) -> tuple[Probe, ...]:
    path = settings.monitoring.suites.get(name)
    return () if path is None else load_suite(name, path).probes


def _own_probes(name: str, live: Sequence[Edit]) -> tuple[Probe, ...]:
    """The locality prompts of one kind; none for a suite that is not called like a kind."""
    if name not in KINDS:
        return ()
    prompts = (prompt for edit in live for prompt in getattr(edit.event.locality_prompts, name))
    return tuple(Probe(prompt, name) for prompt in prompts)


class _Scope:
    """What the live edits may rightly change: a probe in their scope says nothing about locality."""

    def __init__(self, live: Sequence[Edit]) -> None:
        self._subjects = SurfaceIndex()
        for edit in live:
            names = (edit.subject, *edit.event.aliases)
            self._subjects.add(edit.edit_id, (name for name in names if not _names_nothing(name)))
        self._prompts = {
            prompt_key(prompt)
            for edit in live
            for prompt in (edit.prompt, *edit.event.rephrase_prompts)
            if prompt is not None
        }

    def holds(self, probe: Probe) -> bool:
        """Whether the probe asks what an edit was made for, or names an edited subject.

        A subject of function words alone ("The") is no name: what its edit changes elsewhere is a failure. A
        "subject" probe names its subject on purpose; but of a subject with several live edits it cannot be told
        which of them the probe may ask for.
        """
        if prompt_key(probe.prompt) in self._prompts:
            return True
        return len(self._subjects.find(probe.prompt)) > (1 if probe.kind == "subject" else 0)


def _names_nothing(name: str) -> bool:
    return all(word in FUNCTION_WORDS for word in words_of(name))


def _readable(suite: ProbeSuite, model: AnswersPrompts) -> ProbeSuite:
    """The suite without the probes that are too long for the base."""
    kept = tuple(probe for probe in suite.probes if model.fits(probe.prompt))
    if left_out := len(suite.probes) - len(kept):
        _log.warning("probes are too long for the base", suite=suite.name, left_out=left_out, asked=len(kept))
    return ProbeSuite(suite.name, kept)


def _check(
    ledger: Ledger,
    settings: Settings,
    model: AnswersPrompts,
    suite: ProbeSuite,
    clock: Callable[[], datetime],
) -> CheckResult:
    longest = settings.model.max_new_tokens
    key = f"{suite.digest}:{longest}"
    base = ledger.checks.baseline(key, model.base_hash)
    if base is None:
        base = base_answers(suite, model, max_new_tokens=longest)
        ledger.checks.store_baseline(key, model.base_hash, base, suite=suite.name)
    scores = run_suite(suite, base=base, model=model, max_new_tokens=longest)
    return CheckResult(
        suite=suite.name,
        generation=model.generation,
        at=clock(),
        passed=scores.identical >= settings.monitoring.locality_floor,
        scores=scores.as_mapping(),
        probes=scores.probes,
    )


def _live_facts(settings: Settings, live: Sequence[Edit]) -> ProbeSuite:
    """A sample of the live edits, each with its own prompt and answer."""
    facts = tuple(Probe(edit.prompt or "", RETENTION, edit.target_new or "") for edit in live)
    return ProbeSuite(RETENTION, facts).sample(settings.monitoring.probe_sample, seed=settings.planner.seed)


def _retention(
    settings: Settings, model: AnswersPrompts, facts: ProbeSuite, clock: Callable[[], datetime]
) -> CheckResult:
    """Ask live edits for their own facts."""
    answers = edited_answers(
        [fact.prompt for fact in facts.probes], model, max_new_tokens=settings.model.max_new_tokens
    )
    kept = sum(
        answer.text == (fact.answer or "").strip() for answer, fact in zip(answers, facts.probes, strict=True)
    )
    low, high = wilson(kept, len(answers))
    ratio = kept / len(answers)
    return CheckResult(
        suite=RETENTION,
        generation=model.generation,
        at=clock(),
        passed=ratio >= settings.verify.retention_floor,
        scores={"retention": ratio, "retention_low": low, "retention_high": high},
        probes=len(answers),
    )


def _last_good(results: Sequence[CheckResult], *, before: int, suites: set[str]) -> int | None:
    """The newest generation below `before` that was asked all of `suites` and whose newest results all passed."""
    verdicts: dict[int, dict[str, bool]] = {}
    for result in results:  # the newest first
        if result.generation < before:
            verdicts.setdefault(result.generation, {}).setdefault(result.suite, result.passed)
    good = (number for number, asked in verdicts.items() if suites <= asked.keys() and all(asked.values()))
    return max(good, default=None)


def _roll_back(ledger: Ledger, good: int, failed: int, *, cause: str) -> Outcome:
    suspects = ledger.generations.live_at(failed).keys() - ledger.generations.live_at(good).keys()
    if not suspects & ledger.generations.live().keys():
        return "observed"  # they were taken back since the check began
    generation = ledger.generations.rollback_to(good, cause=cause)
    _log.warning("rolled back", to_generation=good, new_generation=generation.number)
    return "rolled back"
