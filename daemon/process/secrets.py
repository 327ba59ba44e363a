"""Take passwords out of what people read: addresses in a terminal, messages of drivers in a log."""

import re
from urllib.parse import unquote_plus

MASK = "***"

_KEYS = r"(?:ssl)?pass(?:word|wd|phrase)?|pwd|secret|(?:access_?)?token|api_?key|authorization"
SECRET_KEY = re.compile(rf"(?:^|[^a-z])(?:{_KEYS})(?:$|[^a-z])|password|secret|api_key", re.IGNORECASE)
# To the last "@" of the word: a password may hold one, and "/" too.
_IN_ADDRESS = re.compile(r"(\w://[^:/@\s'\"]*):[^\s'\"]*@")
_IN_PAIR = re.compile(
    rf"(?<![A-Za-z])((?:{_KEYS})[\"']?\s*=\s*)('[^']*'|\"[^\"]*\"|[^\s&;,'\"\\]+)", re.IGNORECASE
)


def mask_text(text: str) -> str:
    """The text without passwords of addresses (`://user:...@`) and of pairs (`password=...`)."""
    return _IN_PAIR.sub(rf"\1{MASK}", _IN_ADDRESS.sub(rf"\1:{MASK}@", text))


def mask_url(url: str) -> str:
    """An address of which nothing secret is left, however its query spells it."""
    address, question, query = url.partition("?")
    pairs = (pair.partition("=") for pair in query.split("&"))
    shown = "&".join(
        f"{name}={MASK}" if equals and SECRET_KEY.search(unquote_plus(name)) else name + equals + value
        for name, equals, value in pairs
    )
    return mask_text(address + question + shown)
