"""One comparable form of names, relations and values; foreign texts fit to be shown; and counts in words."""

import re
import unicodedata

_SIBILANTS = ("s", "x", "ch", "sh")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def normalise(text: str) -> str:
    """The form in which names are compared: NFKC, casefolded, white space collapsed."""
    # Casefolding can undo a normal form, so it stands between two of them.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split())


def printable(text: str, limit: int) -> str:
    """`text` fit for one line of a log or a header: no control characters, at most `limit` characters."""
    flat = _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text[: limit + 1])
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def counted(number: int, noun: str, *behind: str) -> str:
    """A count with its noun, as people write it: "1 batch", "2 batches"; "1 edit waits", "2 edits wait".

    Args:
        behind: what follows, for one and for several; one form is for both.
    """
    one = number == 1
    words = noun if one else f"{noun}{'es' if noun.endswith(_SIBILANTS) else 's'}"
    follows = f" {behind[0] if one else behind[-1]}" if behind else ""
    return f"{number:,} {words}{follows}"
