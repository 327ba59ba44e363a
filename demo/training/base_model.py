"""Loads the shipped tiny base and measures what it knows, by free greedy generation with a natural stop."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from demo.world.general import questions
from demo.world.world import Fact, World

MAX_NEW_TOKENS = 24


@dataclass(frozen=True, slots=True)
class Knowledge:
    """Shares (0..1) of prompts whose greedy answer is exactly the fact's value."""

    facts: int
    usual_prompt: float
    trained_phrasings: float
    held_out_phrasings: float
    aliases: float
    behind_other_text: float
    general: float
    by_relation: dict[str, tuple[float, float]]  # trained, held out


@dataclass(frozen=True)
class BaseModel:
    """A causal language model and its tokenizer, for answering short prompts greedily."""

    model: Any
    tokenizer: Any

    @classmethod
    def load(cls, folder: Path) -> "BaseModel":
        """The model of a local folder; nothing is fetched."""
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return cls(LlamaForCausalLM.from_pretrained(folder, local_files_only=True).eval(), tokenizer)

    def answers(self, prompts: Sequence[str], *, batch_size: int = 256) -> list[str]:
        """The greedy answer to each prompt, cut at end-of-sequence or newline and stripped.

        Prompts of equal length in tokens go together: no padding, so that batching changes nothing.
        """
        encoded: list[list[int]] = self.tokenizer(list(prompts))["input_ids"]
        by_length: dict[int, list[int]] = {}
        for index, ids in enumerate(encoded):
            by_length.setdefault(len(ids), []).append(index)
        answers = [""] * len(prompts)
        for indices in by_length.values():
            for start in range(0, len(indices), batch_size):
                rows = indices[start : start + batch_size]
                texts = self._generate(torch.tensor([encoded[row] for row in rows]))
                for row, text in zip(rows, texts, strict=True):
                    answers[row] = text
        return answers

    @torch.inference_mode()
    def _generate(self, ids: torch.Tensor) -> list[str]:
        """`ids` (B, T) without padding -> B stripped texts."""
        end = self.tokenizer.eos_token_id
        produced: list[torch.Tensor] = []
        finished = torch.zeros(len(ids), dtype=torch.bool)
        cache, feed = None, ids
        for _ in range(MAX_NEW_TOKENS):
            out = self.model(feed, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache, feed = out.past_key_values, out.logits[:, -1].argmax(-1, keepdim=True)
            produced.append(feed)
            finished |= feed[:, 0] == end
            if bool(finished.all()):
                break
        tokens = torch.cat(produced, 1).tolist()
        kept = [row[: row.index(end)] if end in row else row for row in tokens]
        return [self.tokenizer.decode(row).split("\n")[0].strip() for row in kept]

    def share_right(self, asked: Sequence[tuple[str, str]]) -> float:
        """The share of (prompt, value) pairs that are answered with exactly the value."""
        return _share(self._right(asked))

    def _right(self, asked: Sequence[tuple[str, str]]) -> list[bool]:
        answers = self.answers([prompt for prompt, _ in asked])
        return [answer == value for answer, (_, value) in zip(answers, asked, strict=True)]

    def measure(
        self, world: World, facts: Sequence[Fact], *, phrasings_each: int, seed: int = 0
    ) -> Knowledge:
        """What the model knows of `facts`: `phrasings_each` trained and all held-out phrasings of each."""
        rng = random.Random(f"measure {seed}")
        trained = [(fact, text) for fact in facts for text in rng.sample(world.prompts(fact), phrasings_each)]
        held_out = [(fact, text) for fact in facts for text in world.held_out_prompts(fact)]
        named = [
            (fact, rng.choice(world.prompts(fact, name=alias))) for fact in facts for alias in fact.aliases
        ]
        behind = [
            (fact, f"{world.prompt(other)} {other.value}. {rng.choice(world.prompts(fact))}")
            for fact, other in zip(facts, rng.sample(facts, len(facts)), strict=True)
        ]
        right_trained, right_held_out = self._right(_pairs(trained)), self._right(_pairs(held_out))
        return Knowledge(
            facts=len(facts),
            usual_prompt=self.share_right([(world.prompt(fact), fact.value) for fact in facts]),
            trained_phrasings=_share(right_trained),
            held_out_phrasings=_share(right_held_out),
            aliases=self.share_right(_pairs(named)),
            behind_other_text=self.share_right(_pairs(behind)),
            general=self.share_right([(question.prompt, question.answer) for question in questions()]),
            by_relation=_by_relation(trained, right_trained, held_out, right_held_out),
        )


def _pairs(asked: Iterable[tuple[Fact, str]]) -> list[tuple[str, str]]:
    return [(prompt, fact.value) for fact, prompt in asked]


def _share(right: Sequence[bool]) -> float:
    return sum(right) / max(1, len(right))


def _by_relation(
    trained: Sequence[tuple[Fact, str]],
    right_trained: Sequence[bool],
    held_out: Sequence[tuple[Fact, str]],
    right_held_out: Sequence[bool],
) -> dict[str, tuple[float, float]]:
    def share(asked: Sequence[tuple[Fact, str]], right: Sequence[bool], relation: str) -> float:
        return _share([ok for (fact, _), ok in zip(asked, right, strict=True) if fact.relation == relation])

    relations = dict.fromkeys(fact.relation for fact, _ in trained)
    return {
        name: (share(trained, right_trained, name), share(held_out, right_held_out, name))
        for name in relations
    }
