"""What is asked of a running batch and what comes back: plain values that go between threads. Imports no torch."""

import random
from dataclasses import dataclass
from typing import Literal, TypeAlias

from edits.prompts import Prompt

TokenPrompt: TypeAlias = tuple[int, ...]
FinishReason: TypeAlias = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How one answer is generated.

    Attributes:
        max_new_tokens: its longest, in tokens; 0: the prompt is read and nothing generated.
        temperature: 0: greedily.
        top_p: the smallest set of likeliest tokens with this much probability is chosen from.
        seed: the same seed, prompt and generation give the same answer, up to the last bit of the device's arithmetic.
        choice: which of several answers to one prompt; each has numbers of its own.
        stop: texts that end the answer, which goes without them.
        logprobs: how many of the likeliest tokens are reported beside each chosen one; None: nothing is reported.
        prompt_logprobs: the same for the prompt's tokens.
    """

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    choice: int = 0
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    prompt_logprobs: bool = False

    def randomness(self) -> random.Random:
        """The row's own numbers: what else is in the batch changes none of them."""
        return random.Random() if self.seed is None else random.Random(f"{self.seed} {self.choice}")  # noqa: S311


@dataclass(frozen=True, slots=True)
class SequenceRequest:
    """One answer that is wanted.

    Attributes:
        prompt: a text, a conversation, or token ids as the model is to read them.
        base: the base is to answer, whatever was edited.
        stripped: the answer as the library gives it and the daemon's checks read it: stripped, a plain prompt's one line
            long. Else it goes on as it continues the prompt, until the model ends it.
        echo: the prompt stands in front of the answer.
    """

    prompt: Prompt | TokenPrompt
    params: SamplingParams
    base: bool = False
    stripped: bool = False
    echo: bool = False


@dataclass(frozen=True, slots=True)
class ScoredToken:
    """A token's text, its log-probability (None: nothing stands before it), and the likeliest in its place."""

    text: str
    logprob: float | None
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class TextDelta:
    """What an answer has more than at the last delta, an echoed prompt in the first; that of its end has the reason."""

    text: str
    scored: tuple[ScoredToken, ...] = ()
    finish_reason: FinishReason | None = None
    new_tokens: int = 0  # of the answer so far


@dataclass(frozen=True, slots=True)
class SequenceResult:
    """A finished answer.

    Attributes:
        edit_id, score: the edit that fired (None: the base answered), and how sure its router was.
        finish_reason: "stop": the model or a stop text ended it; "length": the limit of tokens did.
        prompt_tokens, new_tokens: how many were read and generated, with the one that ended the answer.
        scored, scored_prompt: tokens with their log-probabilities, where they were asked for; of the prompt, too, if it is
            echoed.
        prompt_text: the prompt as text; of a conversation, as the template renders it.
    """

    text: str
    edit_id: str | None
    score: float | None
    finish_reason: FinishReason
    prompt_tokens: int = 0
    new_tokens: int = 0
    scored: tuple[ScoredToken, ...] = ()
    scored_prompt: tuple[ScoredToken, ...] = ()
    prompt_text: str = ""
