"""Prompts as the base model sees them: the vectors of `planner.embedding = "base"`."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from editors.base.base import Base
from editors.base.devices import device_errors
from planners.embedding import Vectors, unit

ROWS = 64
TOKENS = 16_384  # of one pass, padding included: bounds the device's memory for long prompts
# A large base's thousands of numbers are projected to these: distances hardly change, memory does.
DIMENSIONS = 256


class BaseVectors:
    """A text's vector is the mean, over its tokens but the first, of the hidden states that enter the edited layer, each at
    length 1. The first token is an attention sink, fifty times larger than the rest and the same for all texts.
    """

    def __init__(self, base: Base) -> None:
        self._base = base
        self._projection = _projection(self._base.hidden_size)
        self.identity = f"base:{self._base.hash}:layer {self._base.layer}:{self._base.dtype}:mean 1"

    def vectors(self, texts: Sequence[str]) -> Vectors:
        """(n, d) of length 1, d at most `DIMENSIONS`; what is too long for the base is read from its beginning.

        Raises:
            DeviceBusy: the device has no room for this at this moment.
        """
        base = self._base
        rows = _ids(base, texts)
        vectors = np.zeros((len(rows), min(base.hidden_size, DIMENSIONS)), dtype=np.float32)
        for chunk in _chunks(rows):
            ids, mask = base.pad([rows[index] for index in chunk], side="right")
            means = _means(_entering(base, ids, mask).float(), mask)
            vectors[chunk] = means.cpu().numpy() @ self._projection
        return unit(vectors)


class _Seen(Exception):
    """What was wanted has been computed: the layers above need not run."""


def _entering(base: Base, ids: Tensor, mask: Tensor) -> Tensor:
    """(B, T, d): the hidden states that enter the edited layer."""
    found: list[Tensor] = []

    def stop(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found.append(args[0] if args else kwargs["hidden_states"])
        raise _Seen

    handle = base.layers[base.layer].register_forward_pre_hook(stop, with_kwargs=True)
    try:
        with device_errors(), torch.inference_mode():
            base.model.base_model(input_ids=ids, attention_mask=mask, use_cache=False)
    except _Seen:
        pass
    finally:
        handle.remove()
    return found[0]


def _means(hidden: Tensor, mask: Tensor) -> Tensor:
    """(B, d): means over each row's tokens at length 1, without the first where there are others."""
    weights = mask.float()
    weights[:, 0] *= (weights.sum(dim=1) == 1).float()
    hidden = torch.nn.functional.normalize(hidden, dim=-1)
    means = torch.einsum("btd,bt->bd", hidden, weights)
    return means / weights.sum(dim=1, keepdim=True).clamp(min=1.0)


def _ids(base: Base, texts: Sequence[str]) -> list[list[int]]:
    """Token ids; of a text that is too long the beginning, of one without any the end of a sequence."""
    encoded = base.tokenizer(
        list(texts), add_special_tokens=True, split_special_tokens=True, truncation=False
    )
    # A plan must not fail over a prompt that verification will turn down.
    return [list(ids[: base.max_prompt_tokens]) or [base.eos_id] for ids in encoded["input_ids"]]


def _chunks(rows: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Indices of `rows`, those of like length together, at most `ROWS` rows and about `TOKENS` tokens."""
    chunk: list[int] = []
    for index in sorted(range(len(rows)), key=lambda i: len(rows[i])):
        if chunk and (len(chunk) == ROWS or (len(chunk) + 1) * len(rows[index]) > TOKENS):
            yield chunk
            chunk = []
        chunk.append(index)
    if chunk:
        yield chunk


def _projection(size: int) -> Vectors:
    """(size, at most DIMENSIONS): nothing for a small base, else the same random directions each time."""
    if size <= DIMENSIONS:
        return np.eye(size, dtype=np.float32)
    directions = np.random.default_rng(0).standard_normal((size, DIMENSIONS), dtype=np.float32)
    return np.asarray(directions / np.sqrt(DIMENSIONS), dtype=np.float32)
