"""Ask a suite's probes of the edited model and compare with the base: what moved, and how sure that is."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from monitoring.suites import ProbeSuite

CHUNK = 64  # prompts generated together: bounds memory, and lets other work onto the device in between
Z_95 = 1.959964


class Answered(Protocol):
    """An answer and the edit that fired for it, if one did."""

    @property
    def text(self) -> str: ...
    @property
    def edit_id(self) -> str | None: ...


class AnswersPrompts(Protocol):
    """A model that answers with and without its edits; both answers are stripped single lines.

    Only prompts that `fits` says yes to may be asked: the others are too long for the base.
    """

    @property
    def generation(self) -> int: ...
    @property
    def base_hash(self) -> str: ...
    def fits(self, prompt: str) -> bool: ...
    def generate(self, prompts: Sequence[str], *, max_new_tokens: int) -> Sequence[Answered]: ...
    def generate_base(self, prompts: Sequence[str], *, max_new_tokens: int) -> Sequence[Answered]: ...


@dataclass(frozen=True, slots=True)
class SuiteScores:
    """Ratios from 0 to 1 over the probes asked; None where nothing in the suite says."""

    probes: int
    identical: float  # answers that equal the base's
    low: float
    high: float
    false_fire: float  # probes for which some edit fired
    expected: float | None  # answers that equal the probe's own, of those that have one

    def as_mapping(self) -> Mapping[str, float | None]:
        """The scores under the names that the ledger keeps."""
        return {
            "locality": self.identical,
            "locality_low": self.low,
            "locality_high": self.high,
            "false_fire": self.false_fire,
            "expected": self.expected,
        }


def base_answers(suite: ProbeSuite, model: AnswersPrompts, *, max_new_tokens: int) -> list[str]:
    """The base's answer to each probe: what every later check of this suite is compared with."""
    prompts = [probe.prompt for probe in suite.probes]
    return [
        answer.text
        for start in range(0, len(prompts), CHUNK)
        for answer in model.generate_base(prompts[start : start + CHUNK], max_new_tokens=max_new_tokens)
    ]


def edited_answers(prompts: Sequence[str], model: AnswersPrompts, *, max_new_tokens: int) -> list[Answered]:
    """The edited model's answer to each prompt."""
    return [
        answer
        for start in range(0, len(prompts), CHUNK)
        for answer in model.generate(prompts[start : start + CHUNK], max_new_tokens=max_new_tokens)
    ]


def run_suite(
    suite: ProbeSuite, *, base: Sequence[str], model: AnswersPrompts, max_new_tokens: int
) -> SuiteScores:
    """Score a suite of at least one probe; `base` is parallel to its probes (see `base_answers`)."""
    answers = edited_answers([probe.prompt for probe in suite.probes], model, max_new_tokens=max_new_tokens)
    same = sum(answer.text == before for answer, before in zip(answers, base, strict=True))
    known = [
        answer.text == probe.answer.strip()
        for answer, probe in zip(answers, suite.probes, strict=True)
        if probe.answer is not None
    ]
    low, high = wilson(same, len(answers))
    return SuiteScores(
        probes=len(answers),
        identical=same / len(answers),
        low=low,
        high=high,
        false_fire=sum(answer.edit_id is not None for answer in answers) / len(answers),
        expected=sum(known) / len(known) if known else None,
    )


def wilson(hits: int, trials: int, *, z: float = Z_95) -> tuple[float, float]:
    """The Wilson score interval of a share: with the default z it holds the true one 95 times in 100."""
    share = hits / trials
    spread = 1 + z * z / trials
    middle = (share + z * z / (2 * trials)) / spread
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / spread
    return max(0.0, middle - half), min(1.0, middle + half)
