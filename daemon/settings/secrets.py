"""Take passwords out of what people read: addresses in a terminal, messages of drivers in a log."""

import re
from urllib.parse import unquote_plus

MASK = "***"

_KEYS = (
    r"\w*pass(?:word|wd|phrase)|pass|pwd|(?:\w+[_-])?secret(?:[_-]?key)?|private[_-]?key|(?:access_?)?token|api[_-]?key"
    r"|authorization"
)
SECRET_KEY = re.compile(
    rf"(?:^|[^a-z])(?:{_KEYS}|auth|sig|signature)(?:$|[^a-z])|password|secret|api_key", re.IGNORECASE
)
# To the last "@" of the word: a password may hold one, and "/" too. Not over a double quote, which ends a text in JSON.
_IN_ADDRESS = re.compile(r"(\w://[^:/@\s'\"]*):[^\s\"]*@")
_IN_WHOLE_ADDRESS = re.compile(r"(//[^:/@]*):.*@", re.DOTALL)
_QUOTED = r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\""
# `password=...` of libpq and of queries, `Authorization: Bearer ...` of HTTP; `"password": "..."` of JSON and Python, where
# what has no quotes is no text.
_IN_PAIR = re.compile(
    rf"(?<![A-Za-z])((?:{_KEYS})(?:[\"']?\s*=|\s*:)\s*)"
    rf"({_QUOTED}|(?:Bearer|Basic)\s+[^\s'\"\\]+|[^\s&;,'\"\\]+)"
    rf"|(?<![A-Za-z])((?:{_KEYS})[\"']\s*:\s*)({_QUOTED})",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(Bearer|Basic)\s+[\w.~+/-]{8,}=*", re.IGNORECASE)


def mask_text(text: str) -> str:
    """The text without passwords of addresses (`://user:...@`) and of pairs (`password=...`)."""
    return _BEARER.sub(rf"\1 {MASK}", _IN_PAIR.sub(_masked_pair, _IN_ADDRESS.sub(rf"\1:{MASK}@", text)))


def _masked_pair(found: re.Match[str]) -> str:
    """With the quotes that were there: a line of JSON stays one."""
    key, value = found[1] or found[3], found[2] or found[4]
    quote = value[0] if value[0] in "'\"" else ""
    return f"{key}{quote}{MASK}{quote}"


def mask_url(url: str) -> str:
    """An address of which nothing secret is left, however its query spells it."""
    address, question, query = _IN_WHOLE_ADDRESS.sub(rf"\1:{MASK}@", url).partition("?")
    pairs = (pair.partition("=") for pair in query.split("&"))
    shown = "&".join(
        f"{name}={MASK}" if equals and SECRET_KEY.search(unquote_plus(name)) else name + equals + value
        for name, equals, value in pairs
    )
    return mask_text(address + question + shown)
