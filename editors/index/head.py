"""The pair head: do two questions, their names masked, ask one fact? A small network over two sentence vectors and words.

For unit vectors u, v of width w and P (k, w):

    f = [s1 u * v, s2 |u - v|, Pu * Pv, |Pu - Pv|, a * b, |a - b|, c],    log odds = W2 relu(W1 f + b1) + b2

after the pair features of InferSent (Conneau et al., arXiv 1705.02364); a, b, c are what the words tell (`wording`).
Symmetric in the two. Trained by `learning.training` on the corpus that this repository writes; one head belongs to one
encoder.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from editors.index.wording.wording import OWN_FEATURES, PAIR_FEATURES, Words, pair_features, read_words
from edits.errors import PermanentError

MAX_HEAD_BYTES = 64 * 1024**2
# Entries of unit vectors are about w ** -.5: brought to unit size for the first layer.
PRODUCT_SCALE, DIFFERENCE_SCALE = 20.0, 10.0
# Pairs whose features (5 kB each) are in memory together: more leave the cache.
MAX_PAIRS_AT_ONCE = 2048
PARAMETERS = ("projection", "w1", "b1", "w2", "b2")


class HeadUnreadable(PermanentError):
    """The pair head's file is missing, damaged, or of another form."""


@dataclass(frozen=True)
class Questions:
    """Masked texts with their vectors (n, w)."""

    texts: Sequence[str]
    vectors: Tensor

    @cached_property
    def words(self) -> Words:
        """What their words tell."""
        return read_words(self.texts)

    def __len__(self) -> int:
        return len(self.texts)

    def rows(self, chosen: Sequence[int]) -> "Questions":
        """Some of them, in this order."""
        return Questions([self.texts[n] for n in chosen], self.vectors[list(chosen)])


def joined(parts: Sequence[Questions]) -> Questions:
    """Questions one after the other."""
    return Questions(
        [text for part in parts for text in part.texts], torch.cat([part.vectors for part in parts])
    )


@dataclass(frozen=True, slots=True)
class PairHead:
    """The trained head of one encoder.

    Attributes:
        encoder_hash: the encoder that it was trained with.
        projection (k, w), w1 (h, f), b1 (h,), w2 (h,), b2 (1,): its parameters, in float32.
        bank: questions of all kinds, against which a fact's own threshold is measured.
    """

    encoder_hash: str
    projection: Tensor
    w1: Tensor
    b1: Tensor
    w2: Tensor
    b2: Tensor
    bank: Questions

    def odds(self, one: Questions, other: Questions) -> Tensor:
        """How much each of these questions (n) and each of the others (k) ask one fact: log odds (n, k)."""
        n, k = len(one), len(other)
        if not n or not k:
            return torch.zeros(n, k)
        at_once = max(1, MAX_PAIRS_AT_ONCE // k)
        return torch.cat([self._odds(one, other, slice(at, at + at_once)) for at in range(0, n, at_once)])

    def _odds(self, one: Questions, other: Questions, part: slice) -> Tensor:
        words = Words(one.words.own[part], one.words.content[part])
        features = pair_input(
            one.vectors[part].unsqueeze(1),
            other.vectors.unsqueeze(0),
            words.against(1),
            other.words.against(0),
            self.projection,
        )
        return torch.relu(features @ self.w1.T + self.b1) @ self.w2 + self.b2

    def save(self, path: Path) -> None:
        """Write it as one safetensors file, in float16."""
        tensors = {name: getattr(self, name).to(torch.float16).contiguous() for name in PARAMETERS}
        tensors["bank"] = self.bank.vectors.to(torch.float16).contiguous()
        save_file(
            tensors, path, metadata={"encoder": self.encoder_hash, "bank": json.dumps(list(self.bank.texts))}
        )


def pair_input(u: Tensor, v: Tensor, one: Words, other: Words, projection: Tensor) -> Tensor:
    """What the network reads of pairs: (..., f) of vectors (..., w) and their words; dimensions broadcast."""
    p, q = u @ projection.T, v @ projection.T
    a, b = one.own, other.own
    parts = (PRODUCT_SCALE * u * v, DIFFERENCE_SCALE * (u - v).abs(), p * q, (p - q).abs())
    return torch.cat([*parts, a * b, (a - b).abs(), pair_features(one, other)], dim=-1)


def input_width(width: int, projected: int) -> int:
    """How wide `pair_input` is for vectors of this width."""
    return 2 * width + 2 * projected + 2 * OWN_FEATURES + PAIR_FEATURES


def read_head(path: Path) -> PairHead:
    """A head from its file.

    Raises:
        HeadUnreadable: it is missing, damaged, too large or lacks a part.
    """
    try:
        if path.stat().st_size > MAX_HEAD_BYTES:
            raise HeadUnreadable(f"{path} is larger than {MAX_HEAD_BYTES} bytes")
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            texts = json.loads(metadata.get("bank", "[]"))
            parameters = {name: file.get_tensor(name).float() for name in PARAMETERS}
            bank = Questions(texts, file.get_tensor("bank").float())
    except (OSError, SafetensorError, ValueError) as error:
        raise HeadUnreadable(f"{path} holds no pair head: {error}") from error
    head = PairHead(metadata.get("encoder", ""), bank=bank, **parameters)
    projected, width = head.projection.shape
    if head.w1.shape != (len(head.b1), input_width(width, projected)) or bank.vectors.shape != (
        len(texts),
        width,
    ):
        raise HeadUnreadable(f"{path}: its tensors do not fit each other")
    return head
