"""What a question asks for by its form: a person, a time, a manner; several of a kind."""

import re
from collections.abc import Iterator

# Whatever else a question says first.
_FIRST = r"^\W*(?:(?:and|so|but|please|do you know|(?:can |could )?you tell me|tell me|i wonder|i want to know)\W+)*"
_KINDS = (
    ("who", re.compile(_FIRST + r"(?:(?:by|for|to|with|from) )?(?:who|whom|whose)\b")),
    (
        "when",
        re.compile(
            _FIRST
            + r"(?:when\b|(?:(?:in|on|during|since) )?(?:what|which) (?:year|date|day|month|decade|century)\b)"
        ),
    ),
    (
        "how",
        re.compile(
            _FIRST
            + r"(?:how (?:is|was|are|were|did|do|does|can|could)|why|(?:of|from) what (?:is|was|are|were))\b"
        ),
    ),
)
_CALLED = re.compile(r"\b(?:called|named?|dated|known|titled?|spelled|pronounced)\b")
_ANY = re.compile(
    _FIRST + r"(?:name|list|give|mention|cite|find|tell)(?: me| us)? "
    r"(?:(?:an?|any|some|all|every|several|various|many|one|two|three|four|five|six|seven|eight|nine|ten|\d+)\b"
    r"(?! (?:short|brief|answer|word|sentence))|examples? of\b)"
)
_WHICH = re.compile(r"\b(?:which|what) (?:[\w-]+ )?[\w-]+[^s\W]s (?:are|were|lie|exist|in x|of x)\b")
_WHO_ARE = re.compile(r"\b(?:who (?:are|were)|list) the (?:[\w-]+ ){0,2}?[\w-]+[^s\W]s (?:of|in|at) x\b")
# Stricter than the feature that the head was trained with (`wording.py`): what is closed here never fires an open question.
_CLOSED = re.compile(
    r"^\W*(?:(?:and|so|but)\W+)*(?:(?:is|are|was|were|do|does|did)(?:n't)?|(?:has|have|had)(?:n't)?(?=.*\?))\b"
    r"(?! (?:you|we|there|it)\b)"
)
_OPEN = re.compile(r"\b(?:what|which|who|whom|whose|where|when|why|how|or|please|tell)\b")


def kind_asked_for(text: str) -> Iterator[tuple[str, str]]:
    """Whether a masked text asks who, when or how, by its first words: (kind, the words); two kinds are two facts."""
    for kind, pattern in _KINDS:
        if (found := pattern.match(text)) and not (kind != "when" and _CALLED.search(text)):
            yield kind, found[0].strip()
            return


def closed_by(text: str) -> str | None:
    """The word by which a masked text asks for yes or no; None: it does not, or it asks for something else, too."""
    found = _CLOSED.match(text)
    return found[0].strip() if found and not _OPEN.search(text) else None


def several_asked_for(text: str) -> str | None:
    """The words by which a masked text asks for several of a kind, or for any one of them; None: it does not."""
    found = _ANY.match(text) or _WHICH.search(text) or _WHO_ARE.search(text)
    return found[0] if found else None
