"""One pass over prompts that serves twice: the scope index reads it, and decoding goes on from its cache.

Routing asks the frozen base what it would answer to a prompt, and generating begins by reading the same prompt again. Here
both share one pass over prompts that are each followed by the answer that they are compared with. What generation needs are
the keys and values of a prompt's own columns. A row that does not fire decodes from them; one that fires computes what lies
above the edited layer once more with its expert, for below it nothing changes. A row whose expert is known beforehand
goes through it at once, followed by that expert's target.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from editors.adapters.apply import LEMOE, SCEN, apply_adapters, with_experts
from editors.adapters.bank import ExpertBank, ExpertRow
from editors.base.base import SAMPLE_TEXT, Base, device_errors
from editors.base.passes import Replay, at_last, capture
from editors.inference.drafts import Begun, Prefix, SeenCache, decode_from, likeliest, proven, side_by_side
from editors.routing.agreement import Reading, cosines, read_pairs
from editors.routing.scope_router import TextReading
from edits.errors import TemporaryError

# Reading in two passes pays when it spares so many tokens of padding, and this share of all.
MIN_SPARED = 128
MIN_SHARE_SPARED = 0.25

# Settings of a model's generation that leave greedy decoding what it is: the argmax of the logits.
_PLAIN = frozenset(
    {
        *("_from_model_config", "transformers_version", "max_length", "max_new_tokens", "use_cache"),
        *("bos_token_id", "eos_token_id", "pad_token_id"),
        *("do_sample", "temperature", "top_k", "top_p"),
        *("output_attentions", "output_hidden_states", "output_scores", "return_dict_in_generate"),
    }
)


# Ropes whose angles hang on the position alone. With others a key depends on how long the text behind it is.
_STEADY_ROPES = frozenset({"default", "linear", "llama3", "yarn", "mrope"})


def can_share(base: Base) -> bool:
    """Whether a base's decoding can go on from such a pass; else its prompts are read twice.

    Tried out on a short text, too: a layer that keeps no keys and values, or another's, shows in no signature.
    """
    takes = inspect.signature(base.model.base_model.forward).parameters
    changed = set(base.model.generation_config.to_diff_dict())
    if not ({"position_ids", "past_key_values"} <= takes.keys() and changed <= _PLAIN):
        return False
    return _steady_rope(base.model.config) and _keeps_keys_and_values(base)


def _steady_rope(config: Any) -> bool:
    ropes = [getattr(config, name, None) or {} for name in ("rope_parameters", "rope_scaling")]
    parts = [part for rope in ropes for part in (rope, *rope.values()) if isinstance(part, Mapping)]
    kinds = {part.get("rope_type", part.get("type", "default")) for part in parts}
    return kinds <= _STEADY_ROPES


def _keeps_keys_and_values(base: Base) -> bool:
    ids = torch.tensor([base.prompt_ids(SAMPLE_TEXT)], device=base.device)
    recorder = _Recorder()
    try:
        with device_errors(), torch.no_grad():
            base.model.base_model(input_ids=ids, use_cache=True, past_key_values=recorder)
    except TemporaryError:
        raise
    except Exception:  # whatever a family does with a cache that it does not know: the answer is no
        return False
    return recorder.seen.keys() == set(range(len(base.layers)))


class _Recorder(SeenCache):
    """Takes down each layer's keys and values of one pass; nothing came before it, so nothing is copied."""

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        self.seen[layer_idx] = key_states, value_states
        return key_states, value_states


@dataclass(frozen=True, slots=True)
class Asked:
    """One row of a shared pass.

    Attributes:
        ids: the prompt's tokens.
        answer: the tokens that stand behind it, with the one that stops them: what the base may say to it, or its expert.
        expert: the row's expert, where it is known beforehand.
    """

    ids: Sequence[int]
    answer: Sequence[int] = ()
    expert: ExpertRow | None = None


class SharedPass(Replay):
    """One batch of prompts, each with the answer that it is compared with, if there is one.

    Attributes:
        agrees: whether the model would give that very answer to the prompt; False without an answer.
        last: (B, d) in float32, what enters the edited layer at each prompt's last token.
    """

    def __init__(self, base: Base, asked: Sequence[Asked], *, bank: ExpertBank) -> None:
        self._asked = asked
        self._bank = bank
        # The last token of an answer is only guessed, never read.
        ids, self._mask = base.pad([[*row.ids, *row.answer[:-1]] for row in asked], side="left")
        behind = torch.tensor([max(0, len(row.answer) - 1) for row in asked])
        self._ends = ids.shape[1] - 1 - behind  # (B,) each prompt's last column
        self._kv = _Recorder()
        with (
            apply_adapters(base, [row.expert for row in asked], bank=bank),
            capture(base.ffn, "input") as ffn_reads,
            capture(base.down_proj, "input") as down_reads,
        ):
            super().__init__(
                base,
                ids,
                self._mask,
                past_key_values=self._kv,
                position_ids=(self._mask.cumsum(1) - 1).clamp(min=0),
            )
        self._reads = {LEMOE: ffn_reads[0], SCEN: down_reads[0]}
        self.last = at_last(self.entering, self._ends)
        self._guesses = likeliest(base, self.final, self._ends, behind + 1)
        self.agrees = [
            bool(row.answer) and guess == list(row.answer)
            for row, guess in zip(asked, self._guesses, strict=True)
        ]

    def begin(self, experts: Sequence[ExpertRow | None]) -> Begun:
        """What each row says first: through its expert (None: the base), and of a known one's answer what that confirms.

        To be called once: the pass itself becomes that of the experts.
        """
        self._run_again(
            [
                None if row.expert is not None else expert
                for row, expert in zip(self._asked, experts, strict=True)
            ]
        )
        said: list[list[int]] = []
        unread: list[int] = []
        for row, guess in zip(self._asked, self._guesses, strict=True):
            tried = row.expert is not None and row.answer
            said.append(proven(row.answer, guess) if tried else guess[:1])
            unread.append(max(1, len(row.answer)) - len(said[-1]))
        return Begun(Prefix(self._kv.seen, self._mask), said, unread)

    def _run_again(self, experts: Sequence[ExpertRow | None]) -> None:
        """Let rows that turned out to fire go through their experts: what lies below the edited layer stands."""
        fired = [row for row, expert in enumerate(experts) if expert is not None]
        if not fired:
            return
        self._edited_kv = _Recorder()  # the layers write into it: see `_select`
        # None: all of them, which need not be copied.
        rows = None if len(fired) == self.rows else torch.tensor(fired, device=self.base.device)
        with torch.no_grad():
            if self.base.adds_directly:
                leaving = with_experts(self.base, self.leaving, self._reads, experts, bank=self._bank)
                final = self.hidden_from(leaving if rows is None else leaving[rows], rows)
            else:
                with apply_adapters(self.base, [experts[row] for row in fired], bank=self._bank):
                    final = self.hidden(rows)
        first = likeliest(self.base, final, self._ends[fired], torch.ones(len(fired), dtype=torch.long))
        for row, guess in zip(fired, first, strict=True):
            self._guesses[row] = guess
        for layer, (keys, values) in self._edited_kv.seen.items():
            if rows is None:
                self._kv.seen[layer] = keys, values
            else:
                self._kv.seen[layer][0][rows] = keys
                self._kv.seen[layer][1][rows] = values

    def _select(self, value: Any, rows: Tensor | None) -> Any:
        return self._edited_kv if isinstance(value, _Recorder) else super()._select(value, rows)


class SharedBatch:
    """Rows read in one pass, or in two where they are so unlike in length that padding would cost more.

    Attributes:
        agrees, last: as of `SharedPass`, for all rows.
    """

    def __init__(self, base: Base, asked: Sequence[Asked], *, bank: ExpertBank) -> None:
        self._base, self._bank = base, bank
        self._places = of_like_length([len(row.ids) + max(0, len(row.answer) - 1) for row in asked])
        self._passes = [
            SharedPass(base, [asked[row] for row in places], bank=bank) for places in self._places
        ]
        order = [row for places in self._places for row in places]
        # Of each row: where it stands in the passes.
        self._at = sorted(range(len(order)), key=order.__getitem__)
        agrees = [one for part in self._passes for one in part.agrees]
        self.agrees = [agrees[at] for at in self._at]
        self.last = torch.cat([part.last for part in self._passes])[self._at]

    def generate(self, experts: Sequence[ExpertRow | None], *, max_new_tokens: int) -> list[list[int]]:
        """Greedy continuations of as many first rows as there are experts, up to and without the token that stops them.

        A row goes through its expert (None: the base), whose own answer is tried first. To be called once.

        Args:
            max_new_tokens: no more than the context has room for: `Base.most_new_tokens`.
        """
        everyone = [*experts, *[None] * (len(self._at) - len(experts))]
        parts = [
            part.begin([everyone[row] for row in places])
            for part, places in zip(self._passes, self._places, strict=True)
        ]
        return decode_from(
            self._base,
            side_by_side(parts, self._at[: len(experts)]),
            [_target_ids(expert) for expert in experts],
            experts,
            bank=self._bank,
            most=max_new_tokens,
        )


def of_like_length(lengths: Sequence[int]) -> list[list[int]]:
    """The places of rows in one group, or in the two that spare the most padding, if they spare enough of it."""
    order = sorted(range(len(lengths)), key=lambda place: lengths[place])
    count, longest = len(order), lengths[order[-1]]
    spared = [short * (longest - lengths[order[short - 1]]) for short in range(1, count)]
    most = max(spared, default=0)
    if most < max(MIN_SPARED, MIN_SHARE_SPARED * count * longest):
        return [list(range(count))]
    short = spared.index(most) + 1
    return [sorted(order[:short]), sorted(order[short:])]


def _target_ids(expert: ExpertRow | None) -> Sequence[int]:
    return () if expert is None else expert.shard.header.entries[expert.row].answer_ids


def read_while_prefilling(
    base: Base,
    rows: Sequence[Sequence[int]],
    read: TextReading,
    known: Sequence[ExpertRow | None],
    *,
    bank: ExpertBank,
) -> tuple[SharedBatch, list[Reading]]:
    """Read prompts against the edits that they may be about, in a pass that generating can go on from.

    A prompt's first candidate is read where the prompt stands; the others beside it, in rows that repeat the prompt, as long
    as those do not outnumber the prompts; the rest in a pass of their own.

    Args:
        known: the experts of the prompts that are routed already; nothing is open about these.
    """
    candidates = read.open
    first: dict[int, int] = {}
    for number, candidate in enumerate(candidates):
        first.setdefault(candidate.prompt, number)
    place = {number: prompt for prompt, number in first.items()}  # of a candidate: its row in the pass
    left = [number for number in range(len(candidates)) if number not in place]
    beside, apart = left[: len(rows)], left[len(rows) :]
    place |= {number: len(rows) + n for n, number in enumerate(beside)}
    asked = [
        Asked(ids, _target_ids(expert)[: base.context - len(ids)], expert)
        for ids, expert in zip(rows, known, strict=True)
    ]
    asked += [Asked(rows[candidates[number].prompt]) for number in beside]
    for number, row in place.items():
        ids = asked[row].ids
        asked[row] = Asked(ids, candidates[number].key.base_answer_ids[: base.context - len(ids)])
    passed = SharedBatch(base, asked, bank=bank)
    return passed, _readings(base, read, passed, place, apart)


def _readings(
    base: Base, read: TextReading, passed: SharedBatch, place: Mapping[int, int], apart: Sequence[int]
) -> list[Reading]:
    candidates = read.open
    if not candidates:
        return []
    last = passed.last[list(place.values())].cpu()
    likeness = cosines(last, [candidates[number].key for number in place])
    readings = {
        number: Reading(passed.agrees[row], cosine)
        for (number, row), cosine in zip(place.items(), likeness, strict=True)
    }
    pairs = [(read.texts[candidates[number].prompt], candidates[number].key) for number in apart]
    readings |= dict(zip(apart, read_pairs(base, pairs), strict=True))
    return [readings[number] for number in range(len(candidates))]
