"""The honest alternative to an edit: where the index fires, the fact is written into the prompt and the base answers."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from daemon.evaluation.evaluation_report import InContext, Kinds, Pair
from daemon.evaluation.facts_file import EvaluationFact
from daemon.evaluation.questions import AnsweredQuestions
from editors.base.base import Base
from editors.inference.edited_model import EditedModel
from edits.errors import BadRequest
from edits.ids import EditId
from edits.judging import contains, share
from edits.prompts import Conversation, Message, Prompt

# Wordings were compared on SmolLM2-135M-Instruct (docs/evaluation.md): in chat a model does best with an instruction that
# it is a fact; in plain form the very text that it shall write does best.
_INSTRUCTION = "You are a helpful assistant. You know this fact:"


def stated(fact: EvaluationFact) -> str:
    """The fact as a sentence."""
    prompt, value = fact.prompt.strip(), fact.target_new.strip()
    if prompt.endswith("?"):
        return f"Question: {prompt} Answer: {value}"
    return f"{prompt} {value}{'' if value.endswith('.') else '.'}"


def with_fact(prompt: Prompt, fact: EvaluationFact, *, system: bool) -> Prompt:
    """The prompt with the fact in front.

    Args:
        system: whether a conversation takes it as a system message; else it goes in front of the user's first text.
    """
    if isinstance(prompt, str):
        return f"{fact.prompt.strip()} {fact.target_new.strip()}\n{prompt}"
    instruction = f"{_INSTRUCTION} {stated(fact)}"
    messages = prompt.messages
    if system:
        return Conversation((Message("system", instruction), *messages))
    first = next(n for n, message in enumerate(messages) if message.role == "user")
    opened = replace(messages[first], content=f"{instruction}\n{messages[first].content}")
    return Conversation((*messages[:first], opened, *messages[first + 1 :]))


def reads_system_messages(base: Base) -> bool:
    """Whether the base's chat template has a place for a system message: some refuse it, some leave it out."""
    asked = Conversation((Message("system", "Answer in English."), Message("user", "Who?")))
    try:
        base.prompt_ids(asked)
    except BadRequest:
        return False
    return True


@dataclass(frozen=True, slots=True)
class _InContextAnswers:
    """The base's answers to prompts into which the index wrote facts."""

    texts: list[str]
    extra_tokens: list[int]  # of the prompts where it fired
    seconds: float


class InContextBaseline:
    """Asks the base with what the index finds written in front."""

    def __init__(self, model: EditedModel, facts: Mapping[EditId, EvaluationFact], *, tokens: int) -> None:
        self._model = model
        self._facts = facts
        self._tokens = tokens
        self._system = model.base.chat and reads_system_messages(model.base)

    def generate(self, prompts: Sequence[Prompt]) -> _InContextAnswers:
        """Finding the fact counts into the seconds, as it does in the edited model's."""
        base = self._model.base
        begun = time.perf_counter()
        routes = self._model.route(prompts) if prompts else []
        written = [self._written(p, route.edit_id) for p, route in zip(prompts, routes, strict=True)]
        texts = base.generate(written, max_new_tokens=self._tokens) if prompts else []
        seconds = time.perf_counter() - begun
        changed = [(old, new) for old, new in zip(prompts, written, strict=True) if new is not old]
        extra = [len(base.prompt_ids(new)) - len(base.prompt_ids(old)) for old, new in changed]
        return _InContextAnswers(texts, extra, seconds)

    def _written(self, prompt: Prompt, edit_id: EditId | None) -> Prompt:
        if edit_id is None:
            return prompt
        written = with_fact(prompt, self._facts[edit_id], system=self._system)
        return written if self._model.base.fits(written) else prompt


def in_context(
    baseline: InContextBaseline,
    own: AnsweredQuestions,
    rephrased: AnsweredQuestions,
    probes: Mapping[str, Sequence[Prompt]],
    bases: Mapping[str, Sequence[str]],
) -> InContext:
    """Scores of the alternative on the prompts and by the rules that the edited model is judged by.

    Args:
        probes: locality probes by kind.
        bases: the base's own answers to them.
    """
    answers = {"own": baseline.generate(own.prompts), "rephrased": baseline.generate(rephrased.prompts)}
    far = {kind: baseline.generate(prompts) for kind, prompts in probes.items()}
    extra = [n for one in (*answers.values(), *far.values()) for n in one.extra_tokens]
    edited_seconds = own.seconds + rephrased.seconds
    return InContext(
        reliability=share(own.right(answers["own"].texts)),
        generality=share(rephrased.right(answers["rephrased"].texts)),
        contains=Pair(
            reliability=_contained(own, answers["own"].texts),
            generality=_contained(rephrased, answers["rephrased"].texts),
        ),
        locality=Kinds(
            **{
                kind: share([a == b for a, b in zip(far[kind].texts, bases[kind], strict=True)])
                for kind in far
            }
        ),
        extra_prompt_tokens=sum(extra) / len(extra) if extra else None,
        seconds_ratio=sum(one.seconds for one in answers.values()) / edited_seconds
        if edited_seconds
        else None,
    )


def _contained(asked: AnsweredQuestions, texts: Sequence[str]) -> float | None:
    pairs = zip(texts, asked.questions, strict=True)
    return share([contains(text, question.wanted) for text, question in pairs])
