"""Reads the demo's own TOML files, which travel with the package."""

import tomllib
from importlib.resources import files
from typing import Any


def read_toml(name: str) -> dict[str, Any]:
    """The parsed content of `demo/data/<name>`."""
    return tomllib.loads(files("demo").joinpath("data", name).read_text(encoding="utf-8"))
