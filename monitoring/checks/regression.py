"""Ask the edited model, compare with the base or with the facts that were edited, and count: one bounded piece at a time."""

import math
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from edits.judging import is_exact
from edits.prompts import Prompt
from monitoring.checks.suites import Probe
from monitoring.checks.tally import AGES, Failure, ProbeTally, RetentionTally, Share

BOUNDLESS = 1e6  # nats
CHUNK = 64  # prompts generated together: bounds memory, and lets other work onto the device in between


class Answered(Protocol):
    """An answer and the edit that fired for it, if one did."""

    @property
    def text(self) -> str: ...
    @property
    def edit_id(self) -> str | None: ...


class Changed(Protocol):
    """What the edits did to a text: nats that it became less likely by, and its tokens."""

    @property
    def nats(self) -> float: ...
    @property
    def tokens(self) -> int: ...


class AnswersPrompts(Protocol):
    """A model that answers with and without its edits; both answers are stripped single lines.

    Only prompts that `fits` says yes to may be asked: the others are too long for the base.
    """

    @property
    def generation(self) -> int: ...
    @property
    def base_hash(self) -> str: ...
    @property
    def unserved(self) -> Collection[str]:
        """Published edits that cannot answer, as their shard is damaged."""

    @property
    def asks_chat(self) -> bool:
        """Whether the base is asked through a chat template, as its users do."""

    def fits(self, prompt: Prompt) -> bool: ...
    def named(self, text: str) -> Collection[str]:
        """The live edits whose subject the text names."""

    def generate(self, prompts: Sequence[Prompt], *, max_new_tokens: int) -> Sequence[Answered]: ...
    def generate_base(self, prompts: Sequence[str], *, max_new_tokens: int) -> Sequence[Answered]: ...
    def divergences(self, prompts: Sequence[str]) -> Sequence[float]:
        """KL(base || edited) in nats of the next token; exactly 0 where no edit fires."""

    def text_changes(self, texts: Sequence[str]) -> Sequence[Changed]: ...
    def own_expert(self, edit_id: str, fired: str | None) -> bool | None:
        """Whether the edit that fired has the expert of `edit_id`; None for an editor with one expert an edit."""

    def at(self, generation: int) -> AbstractContextManager[None]:
        """While the block runs, the model answers as that generation did."""

    def without(self, edit_ids: Collection[str]) -> AbstractContextManager[None]:
        """While the block runs, the model lacks these edits."""


@dataclass(frozen=True, slots=True)
class LiveFact:
    """A live edit as retention asks for it.

    `ages` are the windows of age that it counts for (see `AGES`): one that was drawn only to fill a window counts there
    and nowhere else. `older` are the values that the fact had before.
    """

    edit_id: str
    prompt: str
    answer: str
    ages: frozenset[str]
    rephrase: str | None = None
    older: tuple[str, ...] = ()

    @property
    def of_all(self) -> bool:
        """Whether it stands for all live edits."""
        return "all" in self.ages


def ask_probes(
    probes: Sequence[Probe], base: Sequence[str], model: AnswersPrompts, *, max_new_tokens: int
) -> ProbeTally:
    """Ask one chunk of probes; `base` is parallel to them and holds what the base answered.

    An answer counts as changed only where the base, asked anew in the same company, differs too: what is generated
    beside other prompts may be rounded otherwise, and that is nobody's edit.
    """
    prompts = [probe.prompt for probe in probes]
    answers = model.generate(prompts, max_new_tokens=max_new_tokens)
    differing = [i for i, answer in enumerate(answers) if answer.text != base[i]]
    changed = _confirmed([prompts[i] for i in differing], model, max_new_tokens)
    fired = [i for i, answer in enumerate(answers) if answer.edit_id is not None]
    divergences = model.divergences([prompts[i] for i in fired]) if fired else ()
    kls = {i: _finite(kl) for i, kl in zip(fired, divergences, strict=True)}
    texts = [probe.prompt for probe in probes if probe.kind == "text"]
    changes = model.text_changes(texts) if texts else ()
    known = [
        is_exact(answer.text, probe.answer)
        for answer, probe in zip(answers, probes, strict=True)
        if probe.answer is not None
    ]
    failures = [
        Failure(prompt=prompts[i], wanted=before, given=after, fired=answers[i].edit_id, kl=kls.get(i, 0.0))
        for i, (before, after) in zip(differing, changed, strict=True)
        if before != after
    ]
    return ProbeTally(
        same=Share(hits=len(probes) - len(failures), asked=len(probes)),
        fired=Share(hits=len(fired), asked=len(probes)),
        expected=Share(hits=sum(known), asked=len(known)),
        kl_total=sum(kls.values()),
        kl_largest=tuple(sorted((kl for kl in kls.values() if kl > 0), reverse=True)),
        text_nats=sum(_finite(change.nats) for change in changes),
        text_tokens=sum(change.tokens for change in changes),
        failures=tuple(failures),
    )


def ask_facts(facts: Sequence[LiveFact], model: AnswersPrompts, *, max_new_tokens: int) -> RetentionTally:
    """Ask one chunk of live edits for their own facts, by their prompt and by one other phrasing."""
    rephrased = [fact for fact in facts if fact.rephrase is not None]
    prompts = [fact.prompt for fact in facts] + [fact.rephrase or "" for fact in rephrased]
    answers = model.generate(prompts, max_new_tokens=max_new_tokens)
    own, others = answers[: len(facts)], answers[len(facts) :]
    tally = RetentionTally(
        prompt=_by_age(facts, own),
        rephrase=_by_age(rephrased, others),
        failures=tuple(
            Failure(
                prompt=fact.prompt,
                wanted=fact.answer.strip(),
                given=answer.text,
                fired=answer.edit_id,
                owner=fact.edit_id,
            )
            for fact, answer in zip(facts, own, strict=True)
            if not is_exact(answer.text, fact.answer) and fact.of_all
        ),
    )
    stale, routed = Share(), Share()
    for fact, answer in zip(facts, own, strict=True):
        if fact.older and fact.of_all:
            stale = stale.counting(answer.text in fact.older)
        reached = model.own_expert(fact.edit_id, answer.edit_id) if fact.of_all else None
        if reached is not None:
            routed = routed.counting(reached)
    return tally.model_copy(update={"stale": stale, "routed": routed})


def _confirmed(prompts: Sequence[str], model: AnswersPrompts, max_new_tokens: int) -> list[tuple[str, str]]:
    """(the base's answer, the edited model's) to each prompt, both generated in this same company."""
    if not prompts:
        return []
    before = model.generate_base(prompts, max_new_tokens=max_new_tokens)
    after = model.generate(prompts, max_new_tokens=max_new_tokens)
    return [(base.text, edited.text) for base, edited in zip(before, after, strict=True)]


def _finite(nats: float) -> float:
    """An expert that overflows gives no number, and is as bad as a very large one, which JSON can keep."""
    return nats if math.isfinite(nats) else BOUNDLESS


def _by_age(facts: Sequence[LiveFact], answers: Sequence[Answered]) -> dict[str, Share]:
    found: dict[str, Share] = {}
    for age in AGES:
        right = [
            is_exact(answer.text, fact.answer)
            for fact, answer in zip(facts, answers, strict=True)
            if age in fact.ages
        ]
        found[age] = Share(hits=sum(right), asked=len(right))
    return found
