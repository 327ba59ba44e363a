"""Whether two texts ask one fact: the sentence encoder and the pair head that belongs to it."""

import hashlib
import logging
import math
import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor

from editors.index.defaults import DEFAULT_ENCODER
from editors.index.encoder import TextEncoder, load_encoder
from editors.index.head import PairHead, Questions, read_head
from editors.index.hops import further_hops
from editors.index.learning.corpus import read_corpus
from editors.index.learning.training import PAIRS, train_head
from editors.index.wording.contrasts import contradictions

# At `TARGET` an edit's threshold lies between these log odds; a stricter target moves them by as much as it is stricter.
MIN_ODDS, MAX_ODDS, TARGET = -0.8, -0.65, 0.01
# Of the bank so many are a question's own relation in other words, or so like it that nothing can be told from them.
OWN_SHARE = 0.01
# Log odds of what no wording can make one question.
NEVER = -50.0

_log = logging.getLogger(__name__)


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

    def encode(self, texts: Sequence[str]) -> Questions:
        """Masked questions with their vectors; of texts that are the same, one is read."""
        place = {text: n for n, text in enumerate(dict.fromkeys(texts))}
        return Questions(texts, self.encoder.encode(list(place))[[place[text] for text in texts]])

    def odds(self, asked: Questions, known: Questions) -> Tensor:
        """Log odds (n, k) that each question asked is each of the known ones; `NEVER` where the wording says otherwise."""
        return self.head.odds(asked, known).masked_fill(worded_apart(asked.texts, known.texts), NEVER)

    def thresholds(self, questions: Questions, *, target_false_fire: float) -> Tensor:
        """Log odds (n,) that at most this share of questions of all kinds reaches, for each of the questions, within bounds.

        The share is that of the head's bank, beyond what is the question's own. The bounds were measured
        (docs/experiments.md); where the upper one decides, more of the bank may reach it (docs/algorithms.md).
        """
        bank = self.head.bank
        allowed = min(int((target_false_fire + OWN_SHARE) * len(bank)), len(bank) - 1)
        if not len(questions):
            return torch.empty(0)
        found = self.head.odds(questions, bank).topk(allowed + 1, dim=1).values[:, -1]
        stricter = math.log(TARGET / max(target_false_fire, 1e-6))
        bounds = (MIN_ODDS + stricter, MAX_ODDS + stricter)
        return found.clamp(*bounds)


def worded_apart(texts: Sequence[str], others: Sequence[str]) -> Tensor:
    """Which of the masked texts (n) ask something else than others (k) by their words alone: booleans (n, k)."""
    return contradictions(texts, others) | further_hops(texts, others)


def load_matcher(
    encoder: str = DEFAULT_ENCODER, *, heads: Path | None = None, training_pairs: int = PAIRS
) -> QuestionMatcher:
    """The encoder of that name with its head: the one that is shipped, one of the folder `heads`, or one trained now.

    Training takes about a quarter of an hour on one core, once for each encoder, and a warning says so; with `heads` the
    result is kept there.

    Raises:
        EncoderUnreadable: the encoder cannot be loaded.
        HeadUnreadable: a head's file is damaged.
    """
    loaded = load_encoder(encoder)
    shipped = read_head(_shipped_head())
    if shipped.encoder_hash == loaded.hash:
        return QuestionMatcher(loaded, shipped)
    kept = None if heads is None else kept_head(heads, loaded.hash)
    if kept is not None and kept.is_file():
        return QuestionMatcher(loaded, read_head(kept))
    _log.warning(
        "encoder %s (%s) has no pair head yet: training one, about a quarter of an hour on one core; %s",
        encoder,
        loaded.hash,
        "it is not kept, so every start trains it again" if kept is None else f"it is kept as {kept}",
    )
    head = train_head(loaded, read_corpus(), pairs=training_pairs)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        aside = kept.with_suffix(
            f".{os.getpid()}"
        )  # several roles may train it at once, and each may be killed
        head.save(aside)
        aside.replace(kept)
    return QuestionMatcher(loaded, head)


def kept_head(heads: Path, encoder_hash: str) -> Path:
    """Where the head of another encoder is kept in the folder `heads`.

    The shipped head's hash stands in the path: where that is trained anew, on another corpus or to read other features of
    the words, what was trained beside the one before is not read.
    """
    recipe = hashlib.sha256(_shipped_head().read_bytes()).hexdigest()[:16]
    return heads / recipe / f"{encoder_hash.removeprefix('sha256:')}.safetensors"


def _shipped_head() -> Path:
    return Path(str(files("editors.index") / "data" / "head.safetensors"))
