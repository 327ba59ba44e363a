"""One comparable form of names, relations and values."""

import unicodedata


def normalise(text: str) -> str:
    """The form in which names are compared: NFKC, casefolded, white space collapsed."""
    # Casefolding can undo a normal form, so it stands between two of them.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split())
