"""Writes settings files: for programs that start a daemon with settings of their own."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import SecretStr

Tables = Mapping[str, Mapping[str, Any]]


def write_settings(path: Path, tables: Tables, *, header: str) -> None:
    """Write a settings file that only its owner reads: whole, or the old one stays.

    Args:
        tables: values by section and key; None means unset.
        header: the comment at its top, without `#`.

    Raises:
        OSError: the folder cannot be written.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(
        os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
    ) as file:
        file.write("".join(f"# {line}\n" for line in header.splitlines()) + toml_text(tables))
    aside.replace(path)


def toml_text(tables: Tables) -> str:
    """The tables as TOML.

    Raises:
        TypeError: a value has no form in a settings file.
    """
    lines: list[str] = []
    for section, table in tables.items():
        lines.append(f"\n[{section}]")
        lines += [f"{_key(name)} = {_value(item)}" for name, item in table.items() if item is not None]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return name if name.isidentifier() and name.isascii() else _text(name)


def _value(item: Any) -> str:
    match item:
        case SecretStr():
            return _text(item.get_secret_value())
        case str() | Path():
            return _text(str(item))
        case bool():
            return "true" if item else "false"
        case int():
            return str(item)
        case float():
            return repr(item) if math.isfinite(item) else str(item)
        case Mapping():
            return (
                "{" + ", ".join(f"{_key(str(name))} = {_value(value)}" for name, value in item.items()) + "}"
            )
        case Sequence():
            return "[" + ", ".join(_value(value) for value in item) + "]"
        case _:
            raise TypeError(f"a settings file cannot hold a {type(item).__name__}")


def _text(text: str) -> str:
    # What JSON writes as a text, TOML reads as the same; only DEL must not stand there as it is.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
