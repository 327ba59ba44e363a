"""Turns pydantic's complaint about a wrong setting into one sentence: which key, where, and what would do."""

import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from edits.errors import PermanentError

_BOUNDS = {
    "ge": "at least {}",
    "gt": "more than {}",
    "le": "at most {}",
    "lt": "less than {}",
    "min_length": "at least {} characters",
    "max_length": "at most {} characters",
    "pattern": "of the form {}",
}


class BadSettings(PermanentError):
    """A setting is unknown, missing or out of its range; the message says which, where, and what would do."""


def explain(detail: ErrorDetails, root: type[BaseModel], prefix: str, path: Path | None, text: str) -> str:
    """One sentence about one wrong key or value of `root`; `text` is the file's. Never repeats the value."""
    keys = [str(part) for part in detail["loc"]]
    where = _place(keys, prefix, path, text)
    if detail["type"] == "extra_forbidden":
        return f"{where}: unknown key {'.'.join(keys)}{_suggestion(keys, root)}"
    return f"{where}: {'.'.join(keys[:3])} {_what_would_do(detail, keys, root)}"


def unknown_variable(root: type[BaseModel], prefix: str) -> str | None:
    """A complaint about the first variable of no known section: else it would be ignored in silence."""
    sections = list(root.model_fields)
    for name in os.environ:
        if not name.upper().startswith(prefix):
            continue
        section, nested, _ = name.upper().removeprefix(prefix).partition("__")
        if nested and section.lower() not in sections:
            return f"environment variable {name}: no such section{_closest(section.lower(), sections)}"
    return None


def section_keys(root: type[BaseModel], section: str) -> dict[str, FieldInfo]:
    """The keys of one section as they are written in the file; empty for an unknown section."""
    field = root.model_fields.get(section)
    if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
        return {}
    return {info.alias or name: info for name, info in field.annotation.model_fields.items()}


def _what_would_do(detail: ErrorDetails, keys: Sequence[str], root: type[BaseModel]) -> str:
    if len(keys) == 1:
        return f"must be a table: [{keys[0]}]"
    if len(keys) > 3:  # one line for each member of the union of scalars: all mean the same
        return "must be a number, a text, true or false"
    if detail["type"] == "value_error":
        return detail["msg"].removeprefix("Value error, ")
    field = section_keys(root, keys[0]).get(keys[1])
    bounds = _bounds(field) if field else ""
    if bounds and not detail["type"].endswith(("_type", "_parsing", "_from_float")):
        return f"must be {bounds}"
    wish = re.sub(r"^(Input|String|Value) should (be|match|have) ", "must be ", detail["msg"])
    return f"{wish} ({bounds})" if bounds else wish


def _bounds(field: FieldInfo) -> str:
    found = []
    for constraint in field.metadata:
        for name, words in _BOUNDS.items():
            limit = getattr(constraint, name, None)
            if limit is not None:
                found.append(words.format(limit))
    return " and ".join(found)


def _place(keys: Sequence[str], prefix: str, path: Path | None, text: str) -> str:
    """The environment variable, or the file and line, that holds the key."""
    variable = prefix + "__".join(keys[:2]).upper()
    for name in (variable, f"{variable}_FILE"):
        if name in {present.upper() for present in os.environ}:
            return f"environment variable {name}"
    if path is None:
        return "settings"
    line = _line_of(keys, text)
    return f"{path}, line {line}" if line else str(path)


def _line_of(keys: Sequence[str], text: str) -> int | None:
    """Where `[section]` / `key =` stands; None for the rarer ways to write TOML."""
    names = {".".join(keys[:depth]) for depth in (1, 2, 3)}
    section: str | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"^\s*\[\s*([^\[\]]+?)\s*\]", line):
            section = header[1]
            if len(keys) == 1 and section == keys[0]:
                return number
        key = re.match(r"^\s*([\w.-]+)\s*=", line)
        if key and (f"{section}.{key[1]}" if section else key[1]) in names:
            return number
    return None


def _suggestion(keys: Sequence[str], root: type[BaseModel]) -> str:
    if len(keys) == 1:
        return _closest(keys[0], list(root.model_fields))
    own = list(section_keys(root, keys[0]))
    if hint := _closest(keys[1], own):
        return hint
    others = [section for section in root.model_fields if keys[1] in section_keys(root, section)]
    if others:
        return f"; {keys[1]} is a key of [{others[0]}]"
    return f"; [{keys[0]}] knows {', '.join(own)}"


def _closest(word: str, words: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""
