"""The pair head: do two questions, their names masked, ask one fact? A small network over two sentence vectors.

For unit vectors u, v of width w: p = sigmoid(W2 relu(W1 f + b1) + b2) with f = [u * v, |u - v|], after the pair features of
InferSent (Conneau et al., arXiv 1705.02364). Symmetric in u and v. Trained by `editors.index.training` on the corpus that this
repository writes; one head belongs to one encoder.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from editors.errors import PermanentError

MAX_HEAD_BYTES = 64 * 1024**2
_TENSORS = ("w1", "b1", "w2", "b2", "bank")


class HeadUnreadable(PermanentError):
    """The pair head's file is missing, damaged, or of another form."""


@dataclass(frozen=True, slots=True)
class PairHead:
    """The trained head of one encoder.

    Attributes:
        encoder_hash: the encoder that it was trained with.
        w1 (h, 2w), b1 (h,), w2 (h,), b2 (): its parameters, in float32.
        bank (m, w): vectors of questions of all kinds, against which a fact's own threshold is measured.
    """

    encoder_hash: str
    w1: Tensor
    b1: Tensor
    w2: Tensor
    b2: Tensor
    bank: Tensor

    def logits(self, u: Tensor, v: Tensor) -> Tensor:
        """How much pairs (..., w), (..., w) ask one fact: log odds (...)."""
        features = torch.cat([u * v, (u - v).abs()], dim=-1)
        return torch.relu(features @ self.w1.T + self.b1) @ self.w2 + self.b2

    def save(self, path: Path) -> None:
        """Write it as one safetensors file, in float16."""
        tensors = {name: getattr(self, name).to(torch.float16).contiguous() for name in _TENSORS}
        save_file(tensors, path, metadata={"encoder": self.encoder_hash})


def read_head(path: Path) -> PairHead:
    """A head from its file.

    Raises:
        HeadUnreadable: it is missing, damaged, too large or lacks a tensor.
    """
    try:
        if path.stat().st_size > MAX_HEAD_BYTES:
            raise HeadUnreadable(f"{path} is larger than {MAX_HEAD_BYTES} bytes")
        with safe_open(path, framework="pt") as file:
            encoder = (file.metadata() or {}).get("encoder", "")
            tensors: Mapping[str, Tensor] = {name: file.get_tensor(name).float() for name in _TENSORS}
    except (OSError, SafetensorError) as error:
        raise HeadUnreadable(f"{path} holds no pair head: {error}") from error
    head = PairHead(encoder, **tensors)
    hidden, width = head.w1.shape[0], head.bank.shape[-1]
    if head.w1.shape != (hidden, 2 * width) or head.b1.shape != (hidden,) or head.w2.shape != (hidden,):
        raise HeadUnreadable(f"{path}: its tensors do not fit each other")
    return head
