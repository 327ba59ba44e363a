"""Keys and values of the rows that are being generated: rows join and leave between steps."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from editors.base.base import Base


class KVCache:
    """The cache of a running batch, padded on the left: by layer keys and values (B, H, W, D), mask (B, W).

    Every layer keeps all columns, those with a sliding window too: with padding on the left the distance of two
    columns is that of their tokens, so the model's own mask does the sliding.
    """

    def __init__(self, base: Base) -> None:
        self._base = base
        self._cache: Any = None
        self._mask = torch.zeros((0, 0), dtype=torch.long, device=base.device)
        # The head is as wide as the vocabulary: logits of a whole prompt are made for nobody.
        accepts = inspect.signature(base.model.forward).parameters
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in accepts else {}

    @property
    def rows(self) -> int:
        return int(self._mask.shape[0])

    def read(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Read more tokens, (B, T) with their mask (B, T), into every row: logits (B, V) of what follows the last."""
        seen = self._mask.sum(1, keepdim=True) if self.rows else torch.zeros_like(mask[:, :1])
        whole = torch.cat([self._mask, mask], dim=1) if self.rows else mask
        positions = (seen + mask.cumsum(1) - 1).clamp(min=0)
        cache = DynamicCache() if self._cache is None else self._cache
        out = self._base.model(
            input_ids=ids,
            attention_mask=whole,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            **self._last_only,
        )
        self._cache, self._mask = out.past_key_values, whole
        logits: Tensor = out.logits[:, -1]
        return logits

    def join(self, other: "KVCache") -> None:
        """Take over another cache's rows, behind one's own."""
        if not self.rows:
            self._cache, self._mask = other._cache, other._mask
            return
        width = max(self._mask.shape[1], other._mask.shape[1])
        masks = [_widened(mask[:, None, :, None], width)[:, 0, :, 0] for mask in (self._mask, other._mask)]
        pairs = zip(_layers(self._cache), _layers(other._cache), strict=True)
        self._become(
            [
                tuple(
                    torch.cat([_widened(a, width), _widened(b, width)])
                    for a, b in zip(mine, theirs, strict=True)
                )
                for mine, theirs in pairs
            ],
            torch.cat(masks),
        )

    def keep(self, rows: Sequence[int]) -> None:
        """Let all other rows go, and the columns that they alone had."""
        if not rows:
            self._cache, self._mask = None, self._mask[:0, :0]
            return
        index = torch.tensor(rows, device=self._mask.device)
        mask = self._mask[index]
        first = int(mask.any(0).long().argmax())
        self._become(
            [tuple(one[index, :, first:] for one in layer) for layer in _layers(self._cache)], mask[:, first:]
        )

    def _become(self, layers: Sequence[tuple[Tensor, ...]], mask: Tensor) -> None:
        cache = DynamicCache()
        for number, (keys, values) in enumerate(layers):
            cache.update(keys, values, number)
        self._cache, self._mask = cache, mask


def _widened(tensor: Tensor, width: int) -> Tensor:
    """(B, H, W, D) with columns of zeros in front, up to `width`."""
    return torch.nn.functional.pad(tensor, (0, 0, width - tensor.shape[2], 0))


def _layers(cache: Any) -> list[tuple[Tensor, Tensor]]:
    """Keys and values by layer, as transformers 5 and 4 keep them."""
    if hasattr(cache, "layers"):
        return [(layer.keys, layer.values) for layer in cache.layers]
    return list(zip(cache.key_cache, cache.value_cache, strict=True))
