"""One check, a step at a time: what is done is a value that any worker can go on from."""

from daemon.checks.check_context import CheckContext
from daemon.checks.check_states import CheckProgress, Finished
from daemon.checks.check_suites import known_suites, require_known
from daemon.ledger.values import CheckResult
from monitoring.checks.tally import Failure

MAX_WORST = 20  # failing probes of each suite that the report shows


class CheckRun:
    """Asks one chunk of prompts at each step; `progress` between two steps is all that must be persisted.

    The generation is that of the model at the first step, whatever is published meanwhile: no score mixes two.
    """

    def __init__(self, context: CheckContext) -> None:
        """
        Raises:
            BadSuite: the suite is unknown, or a suite of the settings has a name that it cannot have.
        """
        claimed, settings = context.claimed, context.settings
        require_known(claimed.suite, settings)
        self._context = context
        if claimed.progress is not None:
            self.progress = CheckProgress.model_validate(claimed.progress)
            return
        waiting = known_suites(settings) if claimed.suite is None else (claimed.suite,)
        # Each check draws another sample, so that what one of them misses the next may find.
        seed = settings.planner.seed + claimed.id
        self.progress = CheckProgress(generation=context.model.generation, seed=seed, waiting=waiting)

    def step(self) -> bool:
        """Take the state's step; False when nothing is left to ask. The model must answer as `progress.generation` did.

        Raises:
            BadSuite: the one suite that was asked for has a file that cannot be read.
            TemporaryError: the ledger or the device is unwell; the step can be taken again.
        """
        state = self.progress.state
        if isinstance(state, Finished):
            return False
        self.progress = state.step(self.progress, self._context)
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
        return {
            suite: tuple(sorted(failures, key=lambda failure: -failure.kl)[:MAX_WORST])
            for suite, failures in self.failures().items()
        }
