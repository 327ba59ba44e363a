"""Read what strangers wrote: strict JSON of bounded size and depth.

PermanentError
+-- EventRejected   a record that is no fact event; `reason_code` says in one word why
"""

import json
import math
import re
from typing import Any

from edits.errors import PermanentError
from edits.text import printable

MAX_DEPTH = 16
MAX_REASON_CHARS = 500

_BRACKETS = re.compile(rb'\\.|["\[\]{}]', re.DOTALL)


class EventRejected(PermanentError):
    """A record that is no fact event: `reason_code` for machines, the message for people.

    The codes are listed, each with what to do, in docs/events.md.
    """

    def __init__(self, reason_code: str, message: str) -> None:
        super().__init__(printable(message, MAX_REASON_CHARS))
        self.reason_code = reason_code


def without_nulls(value: Any) -> Any:
    """An object without the fields that are `null`: for one that may be left out, that is as leaving it out."""
    if not isinstance(value, dict):
        return value
    return {name: given for name, given in value.items() if given is not None}


def read_json(value: bytes, *, max_bytes: int) -> Any:
    """Parse JSON that may be hostile.

    Raises:
        EventRejected: `too_large`, `bad_utf8`, `too_deep`, `not_json`, `not_finite`, `duplicate_key`,
            `bad_text` (half a surrogate pair).
    """
    if len(value) > max_bytes:
        raise EventRejected("too_large", f"the value has {len(value)} bytes; at most {max_bytes} are read")
    try:
        text = value.decode("utf-8-sig")  # a byte order mark in front says nothing more
    except UnicodeDecodeError as error:
        raise EventRejected(
            "bad_utf8", f"the value is not UTF-8: {error.reason} at byte {error.start}"
        ) from None
    _refuse_deep_nesting(value)
    try:
        parsed = json.loads(
            text,
            object_pairs_hook=_object_without_duplicates,
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
        )
    except ValueError as error:  # JSONDecodeError, or an integer of too many digits
        raise EventRejected("not_json", f"the value is not JSON: {error}") from None
    if "\\u" in text:  # an escape is the only way for half a surrogate pair to get past the UTF-8 check
        _refuse_surrogates(parsed)
    return parsed


def _refuse_deep_nesting(value: bytes) -> None:
    """The JSON parser recurses: depth is counted before it sees the value."""
    if value.count(b"[") + value.count(b"{") <= MAX_DEPTH:
        return
    depth, in_string = 0, False
    for match in _BRACKETS.finditer(value):
        token = match.group()
        if token == b'"':
            in_string = not in_string
        elif in_string or token.startswith(b"\\"):
            continue
        elif token in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise EventRejected("too_deep", f"the value nests deeper than {MAX_DEPTH} levels")
        else:
            depth -= 1


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise EventRejected(
                "duplicate_key", f"the key {printable(name, 60)!r} stands twice in one object"
            )
        found[name] = value
    return found


def _refuse_constant(name: str) -> Any:
    raise EventRejected("not_finite", f"{name} is not a JSON number")


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise EventRejected("not_finite", f"the number {printable(text, 40)} is too large")
    return number


def _refuse_surrogates(parsed: Any) -> None:
    try:
        json.dumps(parsed, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise EventRejected("bad_text", "a text holds half a surrogate pair, which is no character") from None
