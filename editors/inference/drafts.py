"""Decoding that tries what an edit was taught first: one pass proves or refutes a whole answer.

A token is taken only where greedy decoding gives that very token (speculative decoding, arXiv 2211.17192, with a draft
that costs nothing), so the text is what it would be without; answers that are proven whole take no decoding step at all.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from editors.adapters.apply import apply_adapters, place_rank
from editors.adapters.bank import ExpertBank, ExpertRow
from editors.base.base import Base, device_errors

# By layer, each (B, H, T, w).
KeysValues = Mapping[int, tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class Prefix:
    """What was read so far: each layer's keys and values (B, H, T, w), and which columns of which rows count (B, T)."""

    kv: KeysValues
    mask: Tensor

    @property
    def columns(self) -> int:
        return int(self.mask.shape[1])

    def select(self, rows: Sequence[int], unused: Sequence[int]) -> "Prefix":
        """These rows without so many of their last columns, moved so that all end in one column.

        Keys know their positions: where they stand in the cache changes nothing.
        """
        device = self.mask.device
        chosen = torch.tensor(rows, device=device)
        ends = self.columns - torch.tensor(unused, device=device)
        mask = self.mask[chosen] * (torch.arange(self.columns, device=device) < ends[:, None])
        longest = int(mask.sum(1).max())
        if list(rows) == list(range(len(self.mask))) and len(set(unused)) == 1:
            end = self.columns - unused[0]
            own = slice(end - longest, end)  # in front of it all rows are padded
            kv = {layer: (k[:, :, own], v[:, :, own]) for layer, (k, v) in self.kv.items()}
            return Prefix(kv, mask[:, own])
        columns = torch.arange(longest, device=device) + (ends - longest)[:, None]
        inside = columns.clamp(min=0)
        kept = mask.gather(1, inside) * (columns >= 0)

        def moved(tensor: Tensor) -> Tensor:
            of_row = tensor[chosen]
            index = inside[:, None, :, None].expand(-1, of_row.shape[1], -1, of_row.shape[3])
            return of_row.gather(2, index)

        return Prefix({layer: (moved(k), moved(v)) for layer, (k, v) in self.kv.items()}, kept)

    def cache(self) -> "SeenCache":
        """What a model goes on from."""
        cache = SeenCache()
        for layer, (keys, values) in sorted(self.kv.items()):
            cache.update(keys, values, layer)
        return cache


class SeenCache(DynamicCache):  # type: ignore[misc]
    """Remembers what each layer saw last: transformers keep it under other names from version to version."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[int, tuple[Tensor, Tensor]] = {}

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *more: Any, **named: Any
    ) -> tuple[Tensor, Tensor]:
        seen: tuple[Tensor, Tensor] = super().update(key_states, value_states, layer_idx, *more, **named)
        self.seen[layer_idx] = seen
        return seen


@dataclass(frozen=True, slots=True)
class Begun:
    """A batch whose answers have begun.

    Attributes:
        said: each row's new tokens so far, at least one; all but the last were read.
        unread: how many of the prefix's last columns hold nothing that the row said.
    """

    prefix: Prefix
    said: Sequence[Sequence[int]]
    unread: Sequence[int]


def side_by_side(parts: Sequence[Begun], chosen: Sequence[int]) -> Begun:
    """Parts of a batch as one: of all their rows, one part after the other, those chosen, in that order."""
    width = max(part.prefix.columns for part in parts)
    first_ones = len(parts) == 1 and list(chosen) == list(range(len(chosen)))

    def joined(tensors: Sequence[Tensor], columns: int) -> Tensor:
        if first_ones:  # nothing need be copied
            return tensors[0][: len(chosen)]
        after = (0,) * (2 * (tensors[0].ndim - 1 - columns))
        padded = [torch.nn.functional.pad(t, (*after, width - t.shape[columns], 0)) for t in tensors]
        return torch.cat(padded)[chosen]

    prefixes = [part.prefix for part in parts]
    kv = {
        layer: (
            joined([prefix.kv[layer][0] for prefix in prefixes], 2),
            joined([prefix.kv[layer][1] for prefix in prefixes], 2),
        )
        for layer in prefixes[0].kv
    }
    said = [tokens for part in parts for tokens in part.said]
    unread = [count for part in parts for count in part.unread]
    mask = joined([prefix.mask for prefix in prefixes], 1)
    return Begun(Prefix(kv, mask), [said[at] for at in chosen], [unread[at] for at in chosen])


def decode_from(
    base: Base,
    begun: Begun,
    drafts: Sequence[Sequence[int]],
    experts: Sequence[ExpertRow | None],
    *,
    bank: ExpertBank,
    most: int,
) -> list[list[int]]:
    """Greedy continuations of at most so many tokens, each row through its expert, without the token that stops it.

    Args:
        drafts: what each row may be about to say, with the token that stops it; empty: nothing is known.
    """
    decoding = _Decoding(base, begun, experts, bank, most)
    decoding.try_drafts(drafts)
    decoding.finish()
    return [base.plain_ending.before_stop(tokens[:most]) for tokens in decoding.said]


class _Decoding:
    """A batch on its way: rows that have said all leave it."""

    def __init__(
        self, base: Base, begun: Begun, experts: Sequence[ExpertRow | None], bank: ExpertBank, most: int
    ) -> None:
        self._base, self._experts, self._bank, self._most = base, experts, bank, most
        self._prefix = begun.prefix
        self._rows = list(range(len(begun.said)))  # those that the prefix holds, in its order
        # By row of the batch:
        self.said = [list(tokens) for tokens in begun.said]
        self._unread = list(begun.unread)

    def try_drafts(self, drafts: Sequence[Sequence[int]]) -> None:
        """Read what drafts say next in one pass and keep of it what greedy decoding says too."""
        ahead = {row: _tail(self.said[row], drafts[row][: self._most]) for row in self._going()}
        wide = max(map(len, ahead.values()), default=1) - 1
        if wide:
            self._narrow()
            tails = [ahead[row] for row in self._rows]
            with self._experts_at_work():
                self._prefix, said = _prove(self._base, self._prefix, tails, wide)
            for row, tokens in zip(self._rows, said, strict=True):
                self._unread[row] = wide + 1 - len(tokens)
            self._say([tokens[1:] for tokens in said])

    def finish(self) -> None:
        """Go on token by token."""
        if self._going():
            self._level()
            self._narrow()
            said = [self.said[row] for row in self._rows]
            most = self._most - min(map(len, said))
            with self._experts_at_work():
                self._say(_go_on(self._base, self._prefix, [tokens[-1] for tokens in said], most))

    def _going(self) -> list[int]:
        return [
            row
            for row in self._rows
            if len(self.said[row]) < self._most and not self._base.plain_ending.stops(self.said[row])
        ]

    def _level(self) -> None:
        """Near the end of the context, take back what drafts gave to some rows alone.

        Rows go on side by side: the row that has read most would leave those that have said least no room.
        """
        going = self._going()
        least = min(len(self.said[row]) for row in going)
        still = 1 + self._most - least
        if self._prefix.columns + still <= self._base.context:
            return
        self._narrow()
        if self._prefix.columns + still > self._base.context:
            for row in going:
                self._unread[row] = len(self.said[row]) - least
                del self.said[row][least:]

    def _narrow(self) -> None:
        places = {row: place for place, row in enumerate(self._rows)}
        # Rows of one kind side by side: a hook takes a run of rows faster than rows here and there.
        self._rows = sorted(self._going(), key=lambda row: place_rank(self._experts[row]))
        unread = [self._unread[row] for row in self._rows]
        self._prefix = self._prefix.select([places[row] for row in self._rows], unread)
        for row in self._rows:
            self._unread[row] = 0

    def _say(self, tokens: Sequence[Sequence[int]]) -> None:
        for row, new in zip(self._rows, tokens, strict=True):
            self.said[row] += new

    def _experts_at_work(self) -> AbstractContextManager[None]:
        return apply_adapters(self._base, [self._experts[row] for row in self._rows], bank=self._bank)


def _tail(said: Sequence[int], draft: Sequence[int]) -> list[int]:
    """The last token said, and what the draft says after it if it begins with all that was said."""
    agrees = list(draft[: len(said)]) == list(said)
    return [said[-1], *(draft[len(said) :] if agrees else ())]


def proven(draft: Sequence[int], guesses: Sequence[int]) -> list[int]:
    """What greedy decoding says: the part of a draft that the guesses before each of its tokens confirm, and one token more.

    Args:
        guesses: the greedy token before each token of the draft, given those in front of it.
    """
    sure = next(
        (n for n, (token, guess) in enumerate(zip(draft, guesses, strict=True)) if token != guess), None
    )
    return list(draft) if sure is None else [*draft[:sure], guesses[sure]]


def _prove(
    base: Base, prefix: Prefix, tails: Sequence[Sequence[int]], wide: int
) -> tuple[Prefix, list[list[int]]]:
    """Read so many tokens of each tail in one pass: the longer prefix, and each tail's first token with what is proven."""
    read = [tail[: max(1, len(tail) - 1)] for tail in tails]
    ids, mask = base.pad(read, side="right", width=wide)
    longer = torch.cat([prefix.mask, mask], dim=1)
    positions = (longer.cumsum(1) - 1)[:, prefix.columns :]
    cache = prefix.cache()
    with device_errors(), torch.inference_mode():
        out = base.model.base_model(
            input_ids=ids,
            attention_mask=longer,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
    widths = torch.tensor([len(row) for row in read])
    guesses = likeliest(base, out[0], torch.zeros(len(read), dtype=torch.long), widths)
    said = [
        [tail[0], *(proven(tail[1:], guess) if len(tail) > 1 else guess)]
        for tail, guess in zip(tails, guesses, strict=True)
    ]
    return Prefix(cache.seen, longer), said


def likeliest(base: Base, final: Tensor, first: Tensor, widths: Tensor) -> list[list[int]]:
    """The greedy tokens at some columns of final hidden states (B, T, d): of each row so many from its first on.

    The head is as wide as the vocabulary, so it is given those columns alone.
    """
    rows = torch.arange(len(widths)).repeat_interleave(widths)
    begins = widths.cumsum(0) - widths
    columns = first[rows] + torch.arange(len(rows)) - begins[rows]
    with device_errors(), torch.inference_mode():
        chosen = final[rows.to(final.device), columns.to(final.device)]
        tokens: list[int] = base.lm_head(chosen).argmax(-1).tolist()
    return [tokens[b : b + n] for b, n in zip(begins.tolist(), widths.tolist(), strict=True)]


def _go_on(base: Base, prefix: Prefix, last: Sequence[int], most: int) -> list[list[int]]:
    """Token by token from the last known ones, which were not read yet."""
    ids = torch.full((len(last), prefix.columns + 1), base.pad_id, device=base.device)
    ids[:, -1] = torch.tensor(last, device=base.device)
    mask = torch.cat([prefix.mask, torch.ones_like(ids[:, :1])], dim=1)
    return base.continue_ids(ids, mask, max_new_tokens=most, past_key_values=prefix.cache())
