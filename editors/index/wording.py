"""What a question's words tell beside its vector: its kind, and how much of one question's words another one has.

A vector hardly tells "Who is the mother of x?" from "Is A the mother of x?" or "Where was the mother of x born?"; words do.
"""

import re
from collections.abc import Sequence
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


def own_features(texts: Sequence[str]) -> Tensor:
    """(n, OWN_FEATURES): what kind of question each masked text is."""
    return torch.tensor([_own(text) for text in texts]).reshape(len(texts), OWN_FEATURES)


def pair_features(one: Sequence[str], other: Sequence[str]) -> Tensor:
    """(n, PAIR_FEATURES): how much of their content words the texts of each pair share."""
    return torch.tensor([_pair(a, b) for a, b in zip(one, other, strict=True)]).reshape(
        len(one), PAIR_FEATURES
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
def _content(text: str) -> frozenset[str]:
    return frozenset(word[:_STEM] for word in re.findall(r"\w+", text) if word not in _EMPTY_WORDS)


def _pair(one: str, other: str) -> tuple[float, ...]:
    a, b = _content(one), _content(other)
    shared = len(a & b)
    of_a, of_b = shared / max(1, len(a)), shared / max(1, len(b))
    more_a, more_b = len(a) - shared, len(b) - shared
    # All of one question's words and more: something else is asked of its answer, or it is told in passing.
    contains = (of_a == 1 and more_b > 0) or (of_b == 1 and more_a > 0)
    return (
        max(of_a, of_b),
        min(of_a, of_b),
        min(max(more_a, more_b), 6) / 3,
        min(min(more_a, more_b), 6) / 3,
        float(contains),
    )
