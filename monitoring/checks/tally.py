"""What a check has counted so far: tallies of chunks add up, travel as JSON, and turn into scores at the end."""

import math
from typing import Self

from pydantic import BaseModel, ConfigDict

from monitoring.checks.sampling import wilson
from monitoring.checks.suites import MAX_PROBES, sampling_hash

# The largest 1 % of the largest suite: enough for its 99th percentile.
MAX_DIVERGENCES = MAX_PROBES // 100 + 1
MAX_FAILURES = 256  # failing probes that are kept as evidence, chosen by hash sampling where there are more
RETENTION = "retention"  # the suite that asks live edits for their own facts
AGE_DAYS = {"1d": 1, "7d": 7, "30d": 30}  # windows: edits that have been live for at most so long
AGES = (*AGE_DAYS, "all")

Scores = dict[str, float | None]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Failure(_Value):
    """A probe that was not answered as it must be: what must come, and what came.

    `owner` is the live edit whose own fact was asked for; none for a probe of locality. `fired` is the edit that
    gave the answer, if one did: a hint, never a verdict.
    """

    prompt: str
    wanted: str
    given: str
    fired: str | None = None
    owner: str | None = None
    kl: float = 0.0


class Share(_Value):
    """So many of so many."""

    hits: int = 0
    asked: int = 0

    def plus(self, other: "Share") -> "Share":
        """Both counted as one."""
        return Share(hits=self.hits + other.hits, asked=self.asked + other.asked)

    def counting(self, hit: bool) -> "Share":
        """With one more asked."""
        return Share(hits=self.hits + hit, asked=self.asked + 1)

    @property
    def ratio(self) -> float | None:
        """From 0 to 1; None where nothing was asked."""
        return self.hits / self.asked if self.asked else None

    def interval(self) -> tuple[float | None, float | None]:
        """Wilson's 95 % interval."""
        return wilson(self.hits, self.asked) if self.asked else (None, None)


class ProbeTally(_Value):
    """What probes of locality have shown."""

    same: Share = Share()  # answers that equal the base's
    fired: Share = Share()  # probes on which some edit fired
    expected: Share = Share()  # answers that equal the probe's own, of those that have one
    kl_total: float = 0.0
    kl_largest: tuple[float, ...] = ()  # those above zero, the largest first
    text_nats: float = 0.0
    text_tokens: int = 0
    failures: tuple[Failure, ...] = ()

    def plus(self, other: Self) -> "ProbeTally":
        """Both together."""
        return ProbeTally(
            same=self.same.plus(other.same),
            fired=self.fired.plus(other.fired),
            expected=self.expected.plus(other.expected),
            kl_total=self.kl_total + other.kl_total,
            kl_largest=tuple(sorted((*self.kl_largest, *other.kl_largest), reverse=True)[:MAX_DIVERGENCES]),
            text_nats=self.text_nats + other.text_nats,
            text_tokens=self.text_tokens + other.text_tokens,
            failures=_sampled((*self.failures, *other.failures)),
        )

    def scores(self) -> Scores:
        """The scores under the names that the ledger keeps; None where nothing says."""
        low, high = self.same.interval()
        asked = self.same.asked
        return {
            "locality": self.same.ratio,
            "locality_low": low,
            "locality_high": high,
            "false_fire": self.fired.ratio,
            "expected": self.expected.ratio,
            "kl_mean": self.kl_total / asked if asked else None,
            "kl_p99": self._kl_p99() if asked else None,
            "perplexity_ratio": _ratio_of_perplexities(self.text_nats, self.text_tokens),
        }

    @property
    def good(self) -> Share:
        """What is judged: the answers that stayed the same."""
        return self.same

    def _kl_p99(self) -> float:
        """The nearest-rank 99th percentile; those that are not kept are zero, or smaller than it."""
        from_the_top = self.same.asked - math.ceil(0.99 * self.same.asked)
        return self.kl_largest[from_the_top] if from_the_top < len(self.kl_largest) else 0.0


class RetentionTally(_Value):
    """What live edits have shown that were asked for their own facts."""

    prompt: dict[str, Share] = {age: Share() for age in AGES}
    rephrase: dict[str, Share] = {age: Share() for age in AGES}
    stale: Share = Share()  # answers with a value that the fact had before, of the facts that had one
    routed: Share = Share()  # LEMoE edits that reach their own expert
    failures: tuple[Failure, ...] = ()

    def plus(self, other: Self) -> "RetentionTally":
        """Both together."""
        return RetentionTally(
            prompt={age: self.prompt[age].plus(other.prompt[age]) for age in AGES},
            rephrase={age: self.rephrase[age].plus(other.rephrase[age]) for age in AGES},
            stale=self.stale.plus(other.stale),
            routed=self.routed.plus(other.routed),
            failures=_sampled((*self.failures, *other.failures)),
        )

    def scores(self) -> Scores:
        """The scores under the names that the ledger keeps; None where nothing says."""
        low, high = self.prompt["all"].interval()
        found: Scores = {
            "retention": self.prompt["all"].ratio,
            "retention_low": low,
            "retention_high": high,
            "retention_rephrase": self.rephrase["all"].ratio,
        }
        for age in AGE_DAYS:
            found[f"retention_{age}"] = self.prompt[age].ratio
            found[f"retention_rephrase_{age}"] = self.rephrase[age].ratio
        return {**found, "stale_answers": self.stale.ratio, "routing_consistency": self.routed.ratio}

    @property
    def good(self) -> Share:
        """What is judged: all edits that answer their own prompt, whatever their age."""
        return self.prompt["all"]


def _sampled(failures: tuple[Failure, ...]) -> tuple[Failure, ...]:
    """At most `MAX_FAILURES`, each with the same chance, whatever chunk they came from."""
    if len(failures) <= MAX_FAILURES:
        return failures
    return tuple(sorted(failures, key=lambda failure: sampling_hash(failure.prompt, 0))[:MAX_FAILURES])


def _ratio_of_perplexities(nats: float, tokens: int) -> float | None:
    # A ratio that no float holds is as bad as any: JSON knows no infinity.
    return math.exp(min(nats / tokens, 700.0)) if tokens else None
