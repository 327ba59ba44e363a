"""One pass over prompts that serves twice: the scope index reads it, and decoding goes on from its cache.

Routing asks the frozen base what it would answer to a prompt, and generating begins by reading the same prompt again. Here
both share one pass: prompts stand on the left, all ending in one column P, each followed by the answer that it is compared
with. The keys and values of the first P columns are what generation needs. A row that does not fire decodes from them; a
row that fires computes the edited layer and those above it once more with its expert, for below it nothing changes.
"""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from editors.bank import ExpertBank, ExpertRow
from editors.base import Base
from editors.passes import Replay
from editors.routed import experts_at_work
from editors.routing import Suspect
from editors.scope import Reading, read_pairs

# Settings of a model's generation that leave greedy decoding what it is: the argmax of the logits.
_PLAIN = frozenset(
    {
        *("_from_model_config", "transformers_version", "max_length", "max_new_tokens", "use_cache"),
        *("bos_token_id", "eos_token_id", "pad_token_id"),
        *("do_sample", "temperature", "top_k", "top_p"),
        *("output_attentions", "output_hidden_states", "output_scores", "return_dict_in_generate"),
    }
)


def can_share(base: Base) -> bool:
    """Whether a base's decoding can go on from such a pass; else its prompts are read twice."""
    takes = inspect.signature(base.model.base_model.forward).parameters
    changed = set(base.model.generation_config.to_diff_dict())
    return {"position_ids", "past_key_values"} <= takes.keys() and changed <= _PLAIN


class _Recorder(DynamicCache):  # type: ignore[misc]
    """Takes down each layer's keys and values of one pass; nothing came before it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[int, tuple[Tensor, Tensor]] = {}

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        self.seen[layer_idx] = key_states, value_states
        return key_states, value_states


class SharedPass(Replay):
    """One batch of prompts, each with the answer that the index compares (none: a prompt that names no edited subject).

    Attributes:
        agrees: whether the base would give that very answer to the prompt; False without an answer.
        last: (B, d) in float32, what enters the edited layer at each prompt's last token.
    """

    def __init__(
        self, base: Base, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
    ) -> None:
        """
        Args:
            answers: token ids with the token that stopped them, one row a prompt, empty where there is none.
        """
        self._prompt_ids, self._prompt_mask = base.pad(prompts, side="left")
        self._columns = int(self._prompt_ids.shape[1])
        ids, mask = self._with_answers(base, answers)
        self._kv = _Recorder()
        self._edited_kv = _Recorder()
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        super().__init__(base, ids, mask, past_key_values=self._kv, position_ids=positions)
        self.last = self.entering[:, self._columns - 1].float()
        with torch.no_grad():
            tail = base.lm_head(self.final[:, self._columns - 1 :])
        guess = tail.argmax(-1)
        self._first = guess[:, 0].clone()
        targets = torch.full(guess.shape, -100)
        for row, answer in enumerate(answers):
            targets[row, : len(answer)] = torch.tensor(answer, dtype=torch.long)
        targets = targets.to(base.device)
        same = ((guess == targets) | (targets < 0)).all(1).tolist()
        self.agrees = [bool(answer) and bool(equal) for answer, equal in zip(answers, same, strict=True)]

    def generate(
        self, experts: Sequence[ExpertRow | None], *, bank: ExpertBank, max_new_tokens: int
    ) -> list[list[int]]:
        """Greedy continuations, each row through its expert, up to and without the token that stops it."""
        fired = [row for row, expert in enumerate(experts) if expert is not None]
        if fired:
            self._run_again(fired, [experts[row] for row in fired], bank)
        cache = DynamicCache()
        for layer, (keys, values) in sorted(self._kv.seen.items()):
            cache.update(keys[:, :, : self._columns], values[:, :, : self._columns], layer)
        ids = torch.cat([self._prompt_ids, self._first[:, None]], dim=1)
        mask = torch.cat([self._prompt_mask, torch.ones_like(self._first)[:, None]], dim=1)
        with experts_at_work(self.base, experts, bank=bank):
            continued = (
                self.base.continue_ids(ids, mask, max_new_tokens=max_new_tokens - 1, past_key_values=cache)
                if max_new_tokens > 1
                else [[] for _ in experts]
            )
        first = self._first.tolist()
        return [self.base.before_stop([one, *rest]) for one, rest in zip(first, continued, strict=True)]

    def _run_again(self, fired: Sequence[int], experts: Sequence[ExpertRow | None], bank: ExpertBank) -> None:
        rows = torch.tensor(fired, device=self.base.device)
        with torch.no_grad(), experts_at_work(self.base, experts, bank=bank):
            final = self.hidden(rows)
            self._first[rows] = self.base.lm_head(final[:, self._columns - 1]).argmax(-1)
        for layer, (keys, values) in self._edited_kv.seen.items():
            self._kv.seen[layer][0][rows] = keys
            self._kv.seen[layer][1][rows] = values

    def _with_answers(self, base: Base, answers: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        if max(len(answer) for answer in answers) <= 1:
            return self._prompt_ids, self._prompt_mask
        # The last token of an answer is only guessed, never read.
        ids, mask = base.pad([answer[:-1] for answer in answers], side="right")
        return torch.cat([self._prompt_ids, ids], dim=1), torch.cat([self._prompt_mask, mask], dim=1)

    def _take(self, value: Any, rows: Tensor | None) -> Any:
        return self._edited_kv if isinstance(value, _Recorder) else super()._take(value, rows)


def read_while_prefilling(
    base: Base, rows: Sequence[Sequence[int]], prompts: Sequence[str], suspects: Sequence[Suspect]
) -> tuple[SharedPass, list[Reading]]:
    """Read prompts against the edits that they may be about, in a pass that generating can go on from.

    A prompt's first suspect is read in that pass; further ones, which are rare, in one of their own.
    """
    first: dict[int, int] = {}
    for place, suspect in enumerate(suspects):
        first.setdefault(suspect.prompt, place)
    answers: list[Sequence[int]] = [()] * len(rows)
    for index, place in first.items():
        answers[index] = suspects[place].key.base_answer_ids[: base.context - len(rows[index])]
    passed = SharedPass(base, rows, answers)
    stored = torch.stack([suspects[place].key.key for place in first.values()]).float()
    last = passed.last[list(first)].cpu()
    cosines = torch.nn.functional.cosine_similarity(last, stored, dim=-1).tolist()
    readings: dict[int, Reading] = {
        place: Reading(passed.agrees[index], cosine)
        for (index, place), cosine in zip(first.items(), cosines, strict=True)
    }
    others = [place for place in range(len(suspects)) if place not in readings]
    pairs = [(prompts[suspects[place].prompt], suspects[place].key) for place in others]
    readings |= dict(zip(others, read_pairs(base, pairs), strict=True))
    return passed, [readings[place] for place in range(len(suspects))]
