"""What a question's words tell beside its vector: its kind, and how much of one question's words another one has.

A vector hardly tells "Who is the mother of x?" from "Is A the mother of x?" or "Where was the mother of x born?"; words do.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

OWN_FEATURES, PAIR_FEATURES = 8, 5
_AUXILIARIES = frozenset(
    (
        *(
            "is",
            "are",
            "was",
            "were",
            "am",
            "do",
            "does",
            "did",
            "has",
            "have",
            "had",
            "can",
            "could",
            "will",
            "would",
        ),
        *(
            "should",
            "shall",
            "may",
            "might",
            "must",
            "isn't",
            "aren't",
            "wasn't",
            "weren't",
            "doesn't",
            "didn't",
        ),
        *("don't", "hasn't", "haven't", "isnt", "wasnt"),
    )
)
_QUESTION_WORDS = frozenset(("what", "which", "who", "whom", "whose", "where", "when", "why", "how"))
_POLITE = re.compile(r"(?:do you know|can you tell|could you tell|would you|can you|could you|please)\b")
_NEGATIONS = frozenset(("not", "never", "no", "n't"))
_OTHERS = frozenset(("else", "other", "another", "also", "besides"))
_TRUTH = re.compile(r"\b(?:true|correct|right)\b")
_EMPTY_WORDS = frozenset(
    (
        *(
            "a",
            "an",
            "the",
            "of",
            "in",
            "on",
            "at",
            "to",
            "for",
            "by",
            "with",
            "is",
            "are",
            "was",
            "were",
            "be",
            "been",
        ),
        *(
            "being",
            "do",
            "does",
            "did",
            "has",
            "have",
            "had",
            "what",
            "which",
            "who",
            "whom",
            "whose",
            "where",
            "when",
        ),
        *(
            "why",
            "how",
            "it",
            "its",
            "x",
            "s",
            "and",
            "or",
            "as",
            "that",
            "this",
            "there",
            "from",
            "into",
            "please",
        ),
        *("tell", "me", "you", "know", "can", "could", "name", "called"),
    )
)
_WORD = re.compile(r"[\w']+")
_STEM = 5  # letters that tell a word from others, whatever its ending


@dataclass(frozen=True, slots=True)
class Words:
    """What the words of texts (n) tell, each text read once however many others it meets.

    Attributes:
        own (n, OWN_FEATURES): what kind of question each is.
        content (n, most content words): a number for each content word, 0 where there is none.
    """

    own: Tensor
    content: Tensor

    def rows(self, chosen: Tensor) -> "Words":
        """Some of them, in this order."""
        return Words(self.own[chosen], self.content[chosen])

    def against(self, dim: int) -> "Words":
        """With one more dimension, so that each meets each of others."""
        return Words(self.own.unsqueeze(dim), self.content.unsqueeze(dim))


def read_words(texts: Sequence[str]) -> Words:
    """The words of masked texts."""
    content = [_content(text) for text in texts]
    most = max(map(len, content), default=0)
    padded = [(*words, *(0,) * (most - len(words))) for words in content]
    return Words(
        torch.tensor([_own(text) for text in texts]).reshape(len(texts), OWN_FEATURES),
        torch.tensor(padded, dtype=torch.int64).reshape(len(texts), most),
    )


def pair_features(one: Words, other: Words) -> Tensor:
    """(..., PAIR_FEATURES): how much of their content words the texts of each pair share; dimensions broadcast."""
    a, b = one.content, other.content
    same = (a.unsqueeze(-1) == b.unsqueeze(-2)) & (a != 0).unsqueeze(-1)
    shared = same.sum(dim=(-2, -1)).float()
    more_a, more_b = (a != 0).sum(-1) - shared, (b != 0).sum(-1) - shared
    of_a, of_b = shared / (more_a + shared).clamp(min=1), shared / (more_b + shared).clamp(min=1)
    # All of one question's words and more: something else is asked of its answer, or it is told in passing.
    contains = ((of_a == 1) & (more_b > 0)) | ((of_b == 1) & (more_a > 0))
    return torch.stack(
        (
            torch.maximum(of_a, of_b),
            torch.minimum(of_a, of_b),
            torch.maximum(more_a, more_b).clamp(max=6) / 3,
            torch.minimum(more_a, more_b).clamp(max=6) / 3,
            contains.float(),
        ),
        dim=-1,
    )


@lru_cache(maxsize=1 << 14)
def _own(text: str) -> tuple[float, ...]:
    words = _WORD.findall(text)
    yes_no = bool(words) and words[0] in _AUXILIARIES and not _POLITE.match(" ".join(words[:4]))
    return (
        float(yes_no),
        float(any(word in _QUESTION_WORDS for word in words)),
        float(any(word in _NEGATIONS or word.endswith("n't") for word in words)),
        float(any(word in _OTHERS for word in words)),
        min(len(words), 30) / 15,
        (words.count("of") + text.count("'s")) / 2,
        float(bool(_TRUTH.search(text))),
        float(text.rstrip().endswith("?")),
    )


@lru_cache(maxsize=1 << 14)
def _content(text: str) -> tuple[int, ...]:
    words = (word[:_STEM] for word in re.findall(r"\w+", text) if word not in _EMPTY_WORDS)
    return tuple(map(_number, dict.fromkeys(words)))


@lru_cache(maxsize=1 << 14)
def _number(word: str) -> int:
    # 62 bits: two words never share one in practice, and none is 0.
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest()) >> 2 | 1
