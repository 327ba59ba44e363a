"""One check, a piece at a time: what is done is a value that any worker can go on from."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import structlog
from pydantic import BaseModel, ConfigDict

from daemon.checks.check_facts import Draw, draw_facts, next_facts
from daemon.checks.check_suites import (
    RETENTION,
    Scope,
    baseline_of,
    fixed_probes,
    known_suites,
    ledger_probes,
    require_known,
)
from daemon.ledger import Ledger
from daemon.ledger.values import CheckKind, CheckResult, ClaimedCheck
from daemon.process.settings import Settings
from edits.errors import PermanentError
from monitoring.drift import Drift, DriftSettings, Seen, drift
from monitoring.regression import CHUNK, AnswersPrompts, ask_facts, ask_probes
from monitoring.sampling import sample_size
from monitoring.suites import MAX_PROBES, Probe, ProbeSuite, distinct
from monitoring.tally import Failure, ProbeTally, RetentionTally, Scores, Share

KEPT_WORST = 20  # failing probes of each suite that are kept for the report
# Probes of one suite that a full check draws from the ledger: it grows without bound, a night does not.
MOST_LEDGER_PROBES = 20_000

_log = structlog.get_logger(__name__)


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ProbesInHand(_Value):
    """A suite of probes that is being asked, in the order of its lottery.

    Attributes:
        own: (prompt, kind) of the probes that the ledger gave; the others are read from their file again.
        whole: whether `own` is all that the ledger has.
        place: how many probes of the lottery have been looked at.
    """

    name: str
    baseline: str
    own: tuple[tuple[str, str], ...]
    whole: bool
    place: int = 0
    too_long: int = 0
    tally: ProbeTally = ProbeTally()


class FactsInHand(_Value):
    """The live edits that are being asked."""

    draw: Draw
    tally: RetentionTally = RetentionTally()


class Done(_Value):
    """A suite that was asked."""

    suite: str
    at: datetime
    passed: bool
    probes: int
    baseline: str
    scores: Scores
    failures: tuple[Failure, ...]


class Progress(_Value):
    """How far a check of one generation has come."""

    generation: int
    seed: int
    waiting: tuple[str, ...]
    probes: ProbesInHand | None = None
    facts: FactsInHand | None = None
    done: tuple[Done, ...] = ()


class CheckRun:
    """Asks one chunk of prompts at each step; `progress` between two steps is all that must be kept.

    The generation is that of the model at the first step, whatever is published meanwhile: no score mixes two.
    """

    def __init__(
        self,
        ledger: Ledger,
        settings: Settings,
        model: AnswersPrompts,
        claimed: ClaimedCheck,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        """
        Raises:
            BadSuite: the suite is unknown, or a suite of the settings has a name that it cannot have.
        """
        require_known(claimed.suite, settings)
        self._ledger = ledger
        self._settings = settings
        self._model = model
        self._claimed = claimed
        self._clock = clock
        self._full = claimed.kind is CheckKind.FULL
        self._longest = settings.model.max_new_tokens
        self._scope = Scope(ledger, model)
        self._lottery: tuple[Probe, ...] | None = None
        if claimed.progress is not None:
            self.progress = Progress.model_validate(claimed.progress)
            return
        waiting = known_suites(settings) if claimed.suite is None else (claimed.suite,)
        # Each check draws another sample, so that what one of them misses the next may find.
        seed = settings.planner.seed + claimed.id
        self.progress = Progress(generation=model.generation, seed=seed, waiting=waiting)

    def step(self) -> bool:
        """Ask one chunk; False when nothing is left to ask. The model must answer as `progress.generation` did.

        Raises:
            BadSuite: the one suite that was asked for has a file that cannot be read.
            TemporaryError: the ledger or the device is unwell; the step can be taken again.
        """
        now = self.progress
        if now.probes is not None:
            self._ask_probes(now.probes)
        elif now.facts is not None:
            self._ask_facts(now.facts)
        elif now.waiting:
            self._begin(now.waiting[0])
        else:
            return False
        return True

    def results(self) -> list[CheckResult]:
        """One result for each suite that had something to ask."""
        return [
            CheckResult(
                suite=done.suite,
                generation=self.progress.generation,
                at=done.at,
                passed=done.passed,
                scores=done.scores,
                probes=done.probes,
                baseline=done.baseline,
            )
            for done in self.progress.done
        ]

    def failures(self) -> dict[str, tuple[Failure, ...]]:
        """The failing probes of each suite."""
        return {done.suite: done.failures for done in self.progress.done}

    def worst(self) -> dict[str, tuple[Failure, ...]]:
        """Those of them that moved furthest."""
        found = self.failures()
        return {
            suite: tuple(sorted(failures, key=lambda failure: -failure.kl)[:KEPT_WORST])
            for suite, failures in found.items()
        }

    def _begin(self, name: str) -> None:
        monitoring, seed = self._settings.monitoring, self.progress.seed
        if name == RETENTION:
            bound, floor = monitoring.retention_error_bound, self._settings.verify.retention_floor
            count = None if self._full else sample_size(bound, share=floor)
            draw = draw_facts(
                self._ledger, count=count, generation=self.progress.generation, seed=seed, clock=self._clock
            )
            self._become(facts=FactsInHand(draw=draw))
            return
        try:
            fixed = fixed_probes(name, self._settings)
        except PermanentError:
            if self._claimed.suite is not None:
                raise
            _log.exception("a suite is left out", suite=name)
            self._become(waiting=self.progress.waiting[1:])
            return
        most = MOST_LEDGER_PROBES if self._full else self._size()
        own, whole = ledger_probes(name, self._ledger, count=most, seed=seed)
        baseline = self._baseline(name, fixed)
        drawn = tuple((probe.prompt, probe.kind) for probe in own)
        self._lottery = self._draw(name, fixed, own)
        self._become(probes=ProbesInHand(name=name, baseline=baseline, own=drawn, whole=whole))

    def _ask_probes(self, hand: ProbesInHand) -> None:
        lottery = self._drawn(hand)
        if lottery is None:  # the probe file was changed meanwhile: no silent mix
            self._begin(hand.name)
            return
        room = (MAX_PROBES if self._full else self._size()) - hand.tally.same.asked
        chosen: list[Probe] = []
        place, too_long = hand.place, hand.too_long
        while place < len(lottery) and len(chosen) < min(CHUNK, room):
            probe = lottery[place]
            place += 1
            if not self._model.fits(probe.prompt):
                too_long += 1
            elif not self._scope.holds(probe):
                chosen.append(probe)
        tally = hand.tally
        if chosen:
            base = self._base_answers([probe.prompt for probe in chosen])
            tally = tally.plus(ask_probes(chosen, base, self._model, max_new_tokens=self._longest))
        after = hand.model_copy(update={"place": place, "too_long": too_long, "tally": tally})
        if place < len(lottery) and len(chosen) < room:
            self._become(probes=after)
        else:
            self._end_probes(after, whole=hand.whole and place == len(lottery))

    def _ask_facts(self, hand: FactsInHand) -> None:
        facts, rest, exhausted = next_facts(
            hand.draw, self._ledger, self._model, count=CHUNK, seed=self.progress.seed
        )
        tally = hand.tally
        if facts:
            tally = tally.plus(ask_facts(facts, self._model, max_new_tokens=self._longest))
        if not exhausted:
            self._become(facts=FactsInHand(draw=rest, tally=tally))
            return
        floor = self._settings.verify.retention_floor
        held = _holds(tally.prompt["all"], floor, whole=hand.draw.whole)
        baseline = self._baseline(RETENTION, ())
        self._end(RETENTION, baseline, tally.prompt["all"], tally.scores(), tally.failures, held=held)

    def _end_probes(self, hand: ProbesInHand, *, whole: bool) -> None:
        monitoring, tally = self._settings.monitoring, hand.tally
        if hand.too_long:
            _log.warning(
                "probes are too long for the base",
                suite=hand.name,
                left_out=hand.too_long,
                asked=tally.same.asked,
            )
        scores = tally.scores()
        perplexity = scores["perplexity_ratio"]
        held = _holds(tally.same, monitoring.locality_floor, whole=whole) and (
            perplexity is None or perplexity <= monitoring.perplexity_ceiling
        )
        self._end(hand.name, hand.baseline, tally.same, scores, tally.failures, held=held)

    def _end(
        self,
        suite: str,
        baseline: str,
        good: Share,
        scores: Scores,
        failures: tuple[Failure, ...],
        *,
        held: bool,
    ) -> None:
        """The suite in hand is asked: judge it against its floor and against its own past."""
        ended = {"probes": None, "facts": None, "waiting": self.progress.waiting[1:]}
        if not good.asked:
            self._become(**ended)
            return
        moved = self._drift(suite, baseline, good)
        alarm = moved is not None and moved.alarm
        done = Done(
            suite=suite,
            at=self._clock(),
            passed=held and not alarm,
            probes=good.asked,
            baseline=baseline,
            scores={
                **scores,
                "drift": None if moved is None else moved.statistic,
                "drift_alarm": float(alarm),
            },
            failures=failures,
        )
        self._become(**ended, done=(*self.progress.done, done))

    def _drift(self, suite: str, baseline: str, good: Share) -> Drift | None:
        monitoring = self._settings.monitoring
        chosen = DriftSettings(monitoring.drift_shift, monitoring.drift_threshold, monitoring.drift_window)
        past = self._ledger.checks.trail(suite, baseline, chosen.window)
        return drift(Seen(good.asked, good.asked - good.hits), [_seen(result) for result in past], chosen)

    def _drawn(self, hand: ProbesInHand) -> tuple[Probe, ...] | None:
        """All probes in the order of this check's lottery; None where the file is not what it was."""
        if self._lottery is None:
            fixed = fixed_probes(hand.name, self._settings)
            if self._baseline(hand.name, fixed) != hand.baseline:
                return None
            own = [Probe(prompt, kind) for prompt, kind in hand.own]
            self._lottery = self._draw(hand.name, fixed, own)
        return self._lottery

    def _draw(self, name: str, fixed: Sequence[Probe], own: Sequence[Probe]) -> tuple[Probe, ...]:
        return ProbeSuite(name, distinct((*fixed, *own))).drawn(seed=self.progress.seed)

    def _base_answers(self, prompts: list[str]) -> list[str]:
        """What the base says, asked once for each prompt and kept."""
        answers, base_hash = self._ledger.base_answers, self._model.base_hash
        known = answers.known(base_hash, prompts, max_new_tokens=self._longest)
        missing = [prompt for prompt in prompts if prompt not in known]
        if missing:
            said = self._model.generate_base(missing, max_new_tokens=self._longest)
            new = {prompt: answer.text for prompt, answer in zip(missing, said, strict=True)}
            answers.store(base_hash, new, max_new_tokens=self._longest)
            known |= new
        return [known[prompt] for prompt in prompts]

    def _baseline(self, name: str, fixed: tuple[Probe, ...]) -> str:
        return baseline_of(name, fixed, base_hash=self._model.base_hash, max_new_tokens=self._longest)

    def _size(self) -> int:
        monitoring = self._settings.monitoring
        return sample_size(monitoring.error_bound, share=monitoring.locality_floor)

    def _become(self, **changes: Any) -> None:
        self.progress = self.progress.model_copy(update=changes)


def _holds(good: Share, floor: float, *, whole: bool) -> bool:
    """Of all probes the share itself must hold the floor; of a sample, what it may be within its error."""
    if not good.asked:
        return True
    _, high = good.interval()
    return (good.hits / good.asked if whole else high or 0.0) >= floor


def _seen(result: CheckResult) -> Seen:
    share = result.scores.get("retention" if result.suite == RETENTION else "locality") or 0.0
    return Seen(result.probes, round((1 - share) * result.probes), result.scores.get("drift"))
