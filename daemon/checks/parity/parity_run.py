"""The parity check, a few questions at a step: what is done is a value that any worker can go on from."""

import time
from collections.abc import Callable, Sequence

import structlog
from pydantic import BaseModel, ConfigDict

from daemon.checks.check_context import CheckContext
from daemon.checks.check_run import MAX_WORST
from daemon.checks.parity.gateway_client import CONCURRENT, GatewayClient
from daemon.checks.parity.questions import as_asked, draw_questions
from daemon.ledger.values import CheckResult
from daemon.settings.settings import Settings
from edits.prompts import Prompt
from monitoring.checks.parity import (
    PARITY,
    GatewayAnswer,
    NotMeasured,
    ParityOutcome,
    ParityQuestion,
    ParityTally,
)
from monitoring.checks.tally import Failure

MAX_LOGGED_EDITS = 20
# A gateway looks for a new generation once a second; what a worker has just published it does not know yet.
FOLLOW_TRIES, FOLLOW_SECONDS = 20, 0.5

_log = structlog.get_logger(__name__)


class ParityProgress(BaseModel):
    """What is yet to be asked, and what was compared so far.

    Attributes:
        generation: of the last answers that were compared.
        tries: how often the gateway was found at another generation and waited for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    waiting: tuple[ParityQuestion, ...]
    tally: ParityTally = ParityTally()
    generation: int = 0
    tries: int = 0


class ParityRun:
    """Asks `CONCURRENT` questions at each step, first the gateway and then the model.

    Unlike a regression check it follows the head from slice to slice, as the gateway does: answers of another generation
    than the model's are not compared.
    """

    def __init__(
        self, check: CheckContext, gateway: GatewayClient, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._check = check
        self._gateway = gateway
        self._sleep = sleep
        claimed = check.claimed
        if claimed.progress is not None:
            self.progress = ParityProgress.model_validate(claimed.progress)
        else:
            seed = check.settings.planner.seed + claimed.id
            self.progress = ParityProgress(waiting=draw_questions(check, seed=seed))

    def step(self) -> bool:
        """Ask the next questions; False when nothing is left to ask, or the gateway answers nothing at all.

        Raises:
            TemporaryError: the device is unwell; the step can be taken again.
        """
        now = self.progress
        asked = now.waiting[: 1 if now.tries else CONCURRENT]
        if not asked:
            return False
        theirs = [self._compared(answer) for answer in self._gateway.ask(self._prompts(asked))]
        missing = [answer for answer in theirs if isinstance(answer, NotMeasured)]
        if len(missing) < len(asked):
            self.progress = self._counting(asked, theirs)
        elif all(answer.elsewhere for answer in missing) and now.tries < FOLLOW_TRIES:
            self._sleep(FOLLOW_SECONDS)
            self.progress = now.model_copy(update={"tries": now.tries + 1})
        else:
            tally = now.tally.without(len(now.waiting), missing[-1].reason)
            self.progress = now.model_copy(update={"waiting": (), "tally": tally})
        return bool(self.progress.waiting)

    def _counting(
        self, asked: Sequence[ParityQuestion], theirs: Sequence[GatewayAnswer | NotMeasured]
    ) -> ParityProgress:
        model, tally = self._check.model, self.progress.tally
        mine = model.generate(self._prompts(asked), max_new_tokens=self._check.max_new_tokens)
        for question, own, answer in zip(asked, mine, theirs, strict=True):
            tally = tally.counting(question, own, answer)
        waiting = self.progress.waiting[len(asked) :]
        return ParityProgress(waiting=waiting, tally=tally, generation=model.generation)

    def result(self) -> CheckResult | None:
        """What was found; None where nothing could be compared, which says nothing about the gateway's answers."""
        tally, check = self.progress.tally, self._check
        if not tally.all.asked:
            return None
        _, high = tally.all.interval()
        return CheckResult(
            suite=PARITY,
            generation=self.progress.generation,
            at=check.clock(),
            passed=(high or 0.0) >= check.settings.gateway.parity_floor,
            scores=tally.scores(),
            probes=tally.all.asked,
        )

    def report(self) -> None:
        """Name the edits that differ in the log; what they say stands in the ledger alone."""
        tally = self.progress.tally
        if tally.differences:
            edits = sorted({name for found in tally.differences if (name := _edit_of(found)) is not None})
            _log.warning(
                "the gateway differs",
                edits=edits[:MAX_LOGGED_EDITS],
                differing=len(tally.differences),
                compared=tally.all.asked,
            )
        if tally.unmeasured:
            _log.warning("could not be measured", questions=tally.unmeasured, reason=tally.reason)

    def _prompts(self, asked: Sequence[ParityQuestion]) -> list[Prompt]:
        return [as_asked(question, self._check) for question in asked]

    def _compared(self, answer: GatewayAnswer | NotMeasured) -> GatewayAnswer | NotMeasured:
        own = self._check.model.generation
        if isinstance(answer, NotMeasured) or answer.generation in (None, own):
            return answer
        named = f"the gateway is at generation {answer.generation}, the worker at {own}"
        return NotMeasured(named, elsewhere=True)


def work_on_parity(
    check: CheckContext, *, time_is_up: Callable[[], bool], sleep: Callable[[float], None] = time.sleep
) -> tuple[CheckResult | None, ParityOutcome]:
    """Work on a claimed parity check until it is done or the time is up; at least one step is taken.

    An engine that is away is no disagreement: then the check is closed as failed, with the reason, and leaves no result.

    Raises:
        LeaseLost: somebody else has the check by now; nothing of this slice was persisted.
        TemporaryError: the ledger or the device is unwell.
    """
    checks, claimed = check.ledger.checks, check.claimed
    client = open_client(check.settings)
    if client is None:
        checks.fail(claimed.id, claimed.token, "parity: gateway.url is not set for this worker")
        return None, "not measured"
    with client:
        run = ParityRun(check, client, sleep=sleep)
        while run.step():
            if time_is_up():
                checks.pause(claimed.id, claimed.token, run.progress.model_dump(mode="json"))
                return None, "paused"
    run.report()
    result, tally = run.result(), run.progress.tally
    if result is None and tally.unmeasured:
        checks.fail(claimed.id, claimed.token, f"parity could not be measured: {tally.reason}")
        return None, "not measured"
    results = [] if result is None else [result]
    checks.finish(claimed.id, claimed.token, results, worst={PARITY: tally.differences[:MAX_WORST]})
    return result, "differs" if result is not None and not result.passed else "agrees"


def open_client(settings: Settings) -> GatewayClient | None:
    """The client of the settings' gateway; None: the settings name none."""
    gateway = settings.gateway
    if gateway.url is None:
        return None
    key = gateway.engine_api_key
    return GatewayClient(
        gateway.url,
        model=gateway.model_name,
        api_key=None if key is None else key.get_secret_value(),
        max_new_tokens=settings.model.max_new_tokens,
    )


def _edit_of(failure: Failure) -> str | None:
    return failure.owner or failure.fired
