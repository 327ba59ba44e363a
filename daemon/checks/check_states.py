"""The states of a check, and the step that leads from each to the next.

    SuiteDue --> AskingProbes (a chunk at a step) --> SuiteDue ... --> Finished
             \\-> AskingFacts  (a chunk at a step) -/

Between two steps a state is all that must be persisted: any worker can go on from it.
"""

from typing import Annotated, Any, Literal

import structlog
from pydantic import BaseModel, ConfigDict, Field, model_validator

from daemon.checks.check_context import CheckContext
from daemon.checks.check_facts import FactSample, next_facts, sample_facts
from daemon.checks.check_suites import ledger_probes
from daemon.checks.suite_result import SuiteResult, judge
from edits.errors import PermanentError
from monitoring.checks.regression import CHUNK, ask_facts, ask_probes
from monitoring.checks.suites import Probe
from monitoring.checks.tally import RETENTION, ProbeTally, RetentionTally

_log = structlog.get_logger(__name__)


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SuiteDue(_Value):
    """The first of the waiting suites is yet to be begun."""

    kind: Literal["suite_due"] = "suite_due"

    def step(self, progress: "CheckProgress", check: CheckContext) -> "CheckProgress":
        """Draw what the suite asks; one whose file cannot be read is left out, unless only it was asked for.

        Raises:
            BadSuite: the one suite that was asked for has a file that cannot be read.
        """
        name = progress.waiting[0]
        if name == RETENTION:
            count, seed = check.max_facts, progress.seed
            sample = sample_facts(
                check.ledger, count=count, generation=progress.generation, seed=seed, clock=check.clock
            )
            return progress.enter(AskingFacts(draw=sample))
        try:
            fixed = check.fixed_probes(name)
        except PermanentError:
            if check.claimed.suite is not None:
                raise
            _log.exception("a suite is left out", suite=name)
            return progress.end_suite(None)
        own, whole = ledger_probes(name, check.ledger, count=check.max_ledger_probes, seed=progress.seed)
        prompts = tuple((probe.prompt, probe.kind) for probe in own)
        baseline = check.baseline(name, fixed)
        return progress.enter(AskingProbes(name=name, baseline=baseline, own=prompts, whole=whole))


class AskingProbes(_Value):
    """A suite of probes is being asked, in its sample order.

    Attributes:
        own: (prompt, kind) of the probes that the ledger gave; the others are read from their file again.
        whole: whether `own` is all that the ledger has.
        place: how many probes have been looked at, in sample order.
        too_long: how many of them the base cannot read.
    """

    kind: Literal["asking_probes"] = "asking_probes"
    name: str
    baseline: str
    own: tuple[tuple[str, str], ...]
    whole: bool
    place: int = 0
    too_long: int = 0
    tally: ProbeTally = ProbeTally()

    def step(self, progress: "CheckProgress", check: CheckContext) -> "CheckProgress":
        """Ask one chunk; a suite whose file has changed meanwhile is begun again, so that no score mixes two."""
        order = check.in_sample_order(self.name, self.baseline, self.own, seed=progress.seed)
        if order is None:
            return progress.enter(SuiteDue())
        remaining = check.max_probes - self.tally.same.asked
        chosen, place, too_long = self._choose(order, check, limit=min(CHUNK, remaining))
        tally = self.tally
        if chosen:
            base = check.base_answers([probe.prompt for probe in chosen])
            tally = tally.plus(ask_probes(chosen, base, check.model, max_new_tokens=check.max_new_tokens))
        after = self.model_copy(update={"place": place, "too_long": too_long, "tally": tally})
        if place < len(order) and len(chosen) < remaining:
            return progress.enter(after)
        return progress.end_suite(after._result(check, whole=self.whole and place == len(order)))

    def _choose(
        self, order: tuple[Probe, ...], check: CheckContext, *, limit: int
    ) -> tuple[list[Probe], int, int]:
        """The next probes that the base can read and no edit may rightly change; and the new `place`, `too_long`."""
        chosen: list[Probe] = []
        place, too_long = self.place, self.too_long
        while place < len(order) and len(chosen) < limit:
            probe = order[place]
            place += 1
            if not check.model.fits(probe.prompt):
                too_long += 1
            elif not check.scope.holds(probe):
                chosen.append(probe)
        return chosen, place, too_long

    def _result(self, check: CheckContext, *, whole: bool) -> SuiteResult | None:
        if self.too_long:
            asked = self.tally.same.asked
            _log.warning(
                "probes are too long for the base", suite=self.name, left_out=self.too_long, asked=asked
            )
        return judge(self.name, self.baseline, self.tally, check, whole=whole)


class AskingFacts(_Value):
    """The live edits are being asked for their own facts."""

    kind: Literal["asking_facts"] = "asking_facts"
    draw: FactSample
    tally: RetentionTally = RetentionTally()

    def step(self, progress: "CheckProgress", check: CheckContext) -> "CheckProgress":
        """Ask one chunk."""
        facts, rest, exhausted = next_facts(
            self.draw, check.ledger, check.model, count=CHUNK, seed=progress.seed
        )
        tally = self.tally
        if facts:
            tally = tally.plus(ask_facts(facts, check.model, max_new_tokens=check.max_new_tokens))
        if not exhausted:
            return progress.enter(AskingFacts(draw=rest, tally=tally))
        baseline = check.baseline(RETENTION, ())
        return progress.end_suite(judge(RETENTION, baseline, tally, check, whole=self.draw.whole))


class Finished(_Value):
    """Nothing is left to ask."""

    kind: Literal["finished"] = "finished"


CheckState = Annotated[SuiteDue | AskingProbes | AskingFacts | Finished, Field(discriminator="kind")]


class CheckProgress(_Value):
    """How far a check of one generation has come.

    Attributes:
        waiting: the suites that have no result yet; the first one is in hand.
    """

    generation: int
    seed: int
    waiting: tuple[str, ...]
    done: tuple[SuiteResult, ...] = ()
    state: CheckState = SuiteDue()

    def enter(self, state: CheckState) -> "CheckProgress":
        """The same check in another state."""
        return self.model_copy(update={"state": state})

    def end_suite(self, result: SuiteResult | None) -> "CheckProgress":
        """The suite in hand is done, with a result or without; the next one is due."""
        waiting = self.waiting[1:]
        done = self.done if result is None else (*self.done, result)
        state = SuiteDue() if waiting else Finished()
        return self.model_copy(update={"waiting": waiting, "done": done, "state": state})

    @model_validator(mode="before")
    @classmethod
    def _from_version_1(cls, body: Any) -> Any:
        """Earlier releases stored the state as one of two optional fields, or as none."""
        if not isinstance(body, dict) or not {"probes", "facts"} & body.keys():
            return body
        probes, facts = body.get("probes"), body.get("facts")
        state: dict[str, Any] = {"kind": "suite_due" if body.get("waiting") else "finished"}
        if probes is not None:
            state = {"kind": "asking_probes", **probes}
        elif facts is not None:
            state = {"kind": "asking_facts", **facts}
        rest = {name: value for name, value in body.items() if name not in ("probes", "facts")}
        return {**rest, "state": state}
