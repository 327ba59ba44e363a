"""What the texts of a fact must be like, whoever states it: a Kafka event, or an edit request in a program."""

MAX_ID_CHARS = 200
MAX_NAME_CHARS = 512  # a subject, an alias, an answer
MAX_RELATION_CHARS = 200
MAX_PROMPT_CHARS = 2048
MAX_ALIASES = 32
MAX_REPHRASES = 32
MAX_LOCALITY_PROMPTS = 64  # of each of the three kinds


def why_not_storable(text: str) -> str | None:
    """Why a text cannot be kept in every database; None: it can."""
    if "\x00" in text:
        return "must not hold the character NUL"
    if not text.isprintable() and any("\ud800" <= char <= "\udfff" for char in text):
        return "must not hold half a surrogate pair"
    return None


def why_not_one_line(text: str) -> str | None:
    """Why a text can be no answer; None: it can."""
    if len(text.splitlines()) > 1:
        return "must stand on one line: an answer ends at the first line break"
    return None


def why_not_text(text: object, limit: int) -> str | None:
    """Why something is no text of a fact with at most `limit` characters; None: it is one."""
    if not isinstance(text, str):
        return "must be a text"
    if not text.strip():
        return "must not be blank"
    if len(text) > limit:
        return f"must have at most {limit} characters"
    return why_not_storable(text)
