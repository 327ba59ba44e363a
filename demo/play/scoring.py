"""Scores the final generation by free greedy generation, against what the stream asked for and the frozen base."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from demo.stream.stream import DemoStream, ExpectedAnswer

RELIABILITY = 0.98
GENERALITY = 0.90
LOCALITY = {"far": 0.99, "relation": 0.97, "subject": 0.97}
STALE = 0.01


class ScoredAnswer(Protocol):
    """What the model said."""

    @property
    def text(self) -> str: ...


class Model(Protocol):
    """Answers with and without its edits."""

    def generate(self, prompts: Sequence[str], *, max_new_tokens: int) -> Sequence[ScoredAnswer]: ...
    def generate_base(self, prompts: Sequence[str], *, max_new_tokens: int) -> Sequence[ScoredAnswer]: ...


@dataclass(frozen=True, slots=True)
class Answers:
    """Each scored prompt with what the edited model says and, where it matters, what the base says."""

    edited: Mapping[str, str]
    base: Mapping[str, str]

    def same(self, prompt: str) -> bool:
        """Whether the edits leave this prompt's answer as it was."""
        return self.edited[prompt] == self.base[prompt]


@dataclass(frozen=True, slots=True)
class Scores:
    """Shares from 0 to 1, and how many prompts (for `stale`: facts) each of them is taken over.

    A fact whose edit was rejected counts against reliability and generality like any other.
    """

    reliability: float
    generality: float
    locality: Mapping[str, float]
    stale_answer_rate: float
    retracted_as_base: float
    asked: Mapping[str, int]

    def failures(self) -> list[str]:
        """The scores that miss their bar."""
        bars = [("reliability", self.reliability, RELIABILITY), ("generality", self.generality, GENERALITY)]
        bars += [(f"locality/{kind}", self.locality[kind], bar) for kind, bar in LOCALITY.items()]
        missed = [
            f"{name} is {score:.4f}, must be at least {bar}" for name, score, bar in bars if score < bar
        ]
        if self.stale_answer_rate > STALE:
            missed.append(f"stale-answer rate is {self.stale_answer_rate:.4f}, must be at most {STALE}")
        return missed


def ask(model: Model, stream: DemoStream, *, max_new_tokens: int) -> Answers:
    """Put every prompt of the stream's expectations to the model, once each."""
    facts = stream.expectations
    untouched = {
        *stream.far_prompts,
        *(p for f in facts for p in (*f.relation_locality_prompts, *f.subject_locality_prompts)),
    }
    prompts = sorted(untouched | {f.prompt for f in facts})
    held_out = sorted({p for f in facts for p in f.held_out_prompts} - set(prompts))
    edited = model.generate([*prompts, *held_out], max_new_tokens=max_new_tokens)
    base = model.generate_base(prompts, max_new_tokens=max_new_tokens)
    return Answers(
        edited={p: a.text for p, a in zip([*prompts, *held_out], edited, strict=True)},
        base={p: a.text for p, a in zip(prompts, base, strict=True)},
    )


def score(answers: Answers, stream: DemoStream) -> Scores:
    """The scores of `evaluation.md` over the facts that the stream changed."""
    live = [fact for fact in stream.expectations if fact.state == "live"]
    retracted = [fact for fact in stream.expectations if fact.state == "retracted"]
    stale = [fact for fact in stream.expectations if fact.stale]
    probes = {
        "far": dict.fromkeys(stream.far_prompts),
        "relation": dict.fromkeys(p for f in stream.expectations for p in f.relation_locality_prompts),
        "subject": dict.fromkeys(p for f in stream.expectations for p in f.subject_locality_prompts),
    }
    held_out = [(prompt, fact.value) for fact in live for prompt in fact.held_out_prompts]
    return Scores(
        reliability=share(answers.edited[fact.prompt] == fact.value for fact in live),
        generality=share(answers.edited[prompt] == value for prompt, value in held_out),
        locality={kind: share(map(answers.same, prompts)) for kind, prompts in probes.items()},
        stale_answer_rate=share(is_stale(answers, fact) for fact in stale),
        retracted_as_base=share(answers.same(fact.prompt) for fact in retracted),
        asked={
            "reliability": len(live),
            "generality": len(held_out),
            **{f"locality/{kind}": len(prompts) for kind, prompts in probes.items()},
            "stale": len(stale),
            "retracted": len(retracted),
        },
    )


def is_stale(answers: Answers, fact: ExpectedAnswer) -> bool:
    """Whether any way to ask for the fact still brings a value that was superseded or retracted."""
    return any(answers.edited[prompt] in fact.stale for prompt in (fact.prompt, *fact.held_out_prompts))


def share(hits: Iterable[bool]) -> float:
    """The share that is true, of at least one."""
    counted = list(hits)
    return sum(counted) / len(counted)
