"""What every state of a check works with: the ledger, the model that is asked, and how much to ask."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache

from daemon.checks.check_suites import Scope, baseline_of, fixed_probes
from daemon.ledger import Ledger
from daemon.ledger.values import CheckKind, ClaimedCheck
from daemon.settings.settings import Settings
from monitoring.checks.regression import AnswersPrompts
from monitoring.checks.sampling import sample_size
from monitoring.checks.suites import MAX_PROBES, Probe, ProbeSuite, distinct

# Probes of one suite that a full check draws from the ledger: it grows without bound, a night does not.
MAX_LEDGER_PROBES = 20_000


class CheckContext:
    """One slice of a check; a probe file is read once a slice."""

    def __init__(
        self,
        ledger: Ledger,
        settings: Settings,
        model: AnswersPrompts,
        claimed: ClaimedCheck,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self.ledger = ledger
        self.settings = settings
        self.model = model
        self.clock = clock
        self.claimed = claimed
        self.scope = Scope(ledger, model)
        self.max_new_tokens = settings.model.max_new_tokens
        self.fixed_probes = lru_cache(maxsize=1)(lambda name: fixed_probes(name, settings))
        self._full = claimed.kind is CheckKind.FULL
        self._order: tuple[str, tuple[Probe, ...]] = ("", ())

    @property
    def max_probes(self) -> int:
        """How many probes of one suite are asked."""
        return MAX_PROBES if self._full else self._sample_size()

    @property
    def max_ledger_probes(self) -> int:
        """How many probes of one suite are drawn from the ledger, at most."""
        return MAX_LEDGER_PROBES if self._full else self._sample_size()

    @property
    def max_facts(self) -> int | None:
        """How many live edits are asked; None: all."""
        bound, floor = self.settings.monitoring.retention_error_bound, self.settings.verify.retention_floor
        return None if self._full else sample_size(bound, share=floor)

    def baseline(self, name: str, fixed: Sequence[Probe]) -> str:
        """What results of this suite must have in common to be compared."""
        base_hash = self.model.base_hash
        return baseline_of(name, fixed, base_hash=base_hash, max_new_tokens=self.max_new_tokens)

    def in_sample_order(
        self, name: str, baseline: str, own: Sequence[tuple[str, str]], *, seed: int
    ) -> tuple[Probe, ...] | None:
        """The suite's probes, of its files and `own` (prompt, kind), so that the first n are a sample of n.

        None where a file is not what it was when the suite was begun.
        """
        if self._order[0] != baseline:
            fixed = self.fixed_probes(name)
            if self.baseline(name, fixed) != baseline:
                return None
            probes = distinct((*fixed, *(Probe(prompt, kind) for prompt, kind in own)))
            self._order = (baseline, ProbeSuite(name, probes).in_sample_order(seed=seed))
        return self._order[1]

    def base_answers(self, prompts: Sequence[str]) -> list[str]:
        """What the base answers; each prompt is asked once and its answer persisted."""
        answers, base_hash, tokens = self.ledger.base_answers, self.model.base_hash, self.max_new_tokens
        known = answers.known(base_hash, prompts, max_new_tokens=tokens)
        missing = [prompt for prompt in prompts if prompt not in known]
        if missing:
            outputs = self.model.generate_base(missing, max_new_tokens=tokens)
            new = {prompt: answer.text for prompt, answer in zip(missing, outputs, strict=True)}
            answers.store(base_hash, new, max_new_tokens=tokens)
            known |= new
        return [known[prompt] for prompt in prompts]

    def _sample_size(self) -> int:
        monitoring = self.settings.monitoring
        return sample_size(monitoring.error_bound, share=monitoring.locality_floor)
