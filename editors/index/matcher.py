"""Whether two texts ask one fact: the sentence encoder and the pair head that belongs to it."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor

from editors.index.corpus import read_corpus
from editors.index.encoder import DEFAULT_ENCODER, TextEncoder, load_encoder
from editors.index.head import PairHead, read_head
from editors.index.training import train_head

# Thresholds of so many questions are measured side by side.
_AT_ONCE = 32


class QuestionMatcher:
    """Compares masked questions; needs no base."""

    def __init__(self, encoder: TextEncoder, head: PairHead) -> None:
        if head.encoder_hash != encoder.hash:
            raise ValueError("this head was trained with another encoder")
        self.encoder = encoder
        self.head = head

    @property
    def hash(self) -> str:
        """The encoder's hash: vectors of another one mean nothing here."""
        return self.encoder.hash

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Vectors (n, w) of masked questions."""
        return self.encoder.encode(texts)

    def odds(self, question: Tensor, known: Tensor) -> Tensor:
        """Log odds (k,) that a question (w,) asks what each of the known ones (k, w) asks."""
        return self.head.logits(question[None].expand_as(known), known)

    def thresholds(self, questions: Tensor, *, target_false_fire: float) -> Tensor:
        """Log odds (n,) that at most this share of questions of all kinds reaches, for each of the questions (n, w).

        The share is that of the head's bank; its own few phrasings are among them, so the head's even odds are the least.
        """
        bank = self.head.bank
        allowed = min(int(target_false_fire * len(bank)), len(bank) - 1)
        found = [
            self.head.logits(chunk[:, None], bank[None]).topk(allowed + 1, dim=1).values[:, -1]
            for chunk in questions.split(_AT_ONCE)
        ]
        return torch.cat(found).clamp(min=0.0) if found else torch.empty(0)


def load_matcher(encoder: str = DEFAULT_ENCODER, *, heads: Path | None = None) -> QuestionMatcher:
    """The encoder of that name with its head: the one that is shipped, one of the folder `heads`, or one that is trained now.

    Training takes about a minute, once for each encoder; with `heads` the result is kept there.

    Raises:
        EncoderUnreadable: the encoder cannot be loaded.
        HeadUnreadable: a head's file is damaged.
    """
    loaded = load_encoder(encoder)
    shipped = read_head(Path(str(files("editors.index") / "data" / "head.safetensors")))
    if shipped.encoder_hash == loaded.hash:
        return QuestionMatcher(loaded, shipped)
    kept = None if heads is None else heads / f"{loaded.hash.removeprefix('sha256:')}.safetensors"
    if kept is not None and kept.is_file():
        return QuestionMatcher(loaded, read_head(kept))
    head = train_head(loaded, read_corpus())
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        head.save(kept)
    return QuestionMatcher(loaded, head)
