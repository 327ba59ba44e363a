"""Relation templates: the known phrasings of a relation, the first of them the prompt of an event that brings none."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from edits.errors import PermanentError
from edits.text import normalise

MAX_FILE_BYTES = 1 << 20
MAX_TEMPLATES = 10_000
MAX_PHRASINGS = 32  # of one relation
MAX_TEMPLATE_CHARS = 1_024
MAX_RELATION_CHARS = 200
PLACEHOLDER = "{subject}"


class BadTemplates(PermanentError):
    """The templates file cannot be used; the message names the file, the relation and what to write."""


class Templates:
    """Which prompts ask for which relation; relations are compared without regard to case and spacing."""

    def __init__(self, by_relation: Mapping[str, str | Sequence[str]] | None = None) -> None:
        self._by_relation = {normalise(name): _listed(given) for name, given in (by_relation or {}).items()}

    @classmethod
    def load(cls, path: Path | None) -> Self:
        """Read `relation -> "The capital of {subject} is"` from a TOML or JSON file; no path: no templates.

        A list of texts in place of one gives several phrasings of the relation.

        Raises:
            BadTemplates: the file is missing, unreadable, too large, or holds something else than templates.
        """
        if path is None:
            return cls()
        content = _read(path)
        if len(content) > MAX_TEMPLATES:
            raise BadTemplates(f"{path}: {len(content)} templates; at most {MAX_TEMPLATES} are read")
        for relation, given in content.items():
            if fault := _fault(relation, given):
                raise BadTemplates(f"{path}: relation {relation[:MAX_RELATION_CHARS]!r}: {fault}")
        templates = cls(content)
        if len(templates) != len(content):
            raise BadTemplates(f"{path}: two relations differ only in case or spacing")
        return templates

    def __len__(self) -> int:
        return len(self._by_relation)

    def prompt(self, relation: str, subject: str) -> str | None:
        """The first prompt that asks for `relation` of `subject`, or None where there is no template."""
        return next(iter(self.phrasings(relation, subject)), None)

    def phrasings(self, relation: str, subject: str) -> tuple[str, ...]:
        """All known prompts that ask for `relation` of `subject`; empty where there is no template."""
        templates = self._by_relation.get(normalise(relation), ())
        # Not str.format: a subject or a template with other braces means just those braces.
        return tuple(template.replace(PLACEHOLDER, subject) for template in templates)


def _listed(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise BadTemplates(f"the templates file {path} cannot be read: {error.strerror}") from error
    if len(raw) > MAX_FILE_BYTES:
        raise BadTemplates(f"{path}: larger than {MAX_FILE_BYTES} bytes")
    try:
        text = raw.decode("utf-8-sig")
        content = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadTemplates(f"{path}: not {'JSON' if path.suffix == '.json' else 'TOML'}: {error}") from error
    if not isinstance(content, dict):
        raise BadTemplates(f"{path}: must be one object of relation -> template")
    return content


def _fault(relation: str, given: object) -> str | None:
    """Why these are no templates, or None if they are."""
    if not relation.strip() or len(relation) > MAX_RELATION_CHARS:
        return f"a relation's name has 1 to {MAX_RELATION_CHARS} characters"
    if not isinstance(given, list):
        return _fault_of_one(relation, given)
    if not 1 <= len(given) <= MAX_PHRASINGS:
        return f"lists {len(given)} phrasings; it has 1 to {MAX_PHRASINGS}"
    if fault := next(filter(None, (_fault_of_one(relation, text) for text in given)), None):
        return fault
    if len({normalise(text) for text in given}) != len(given):
        return "two of its phrasings differ only in case or spacing: keep one"
    return None


def _fault_of_one(relation: str, text: object) -> str | None:
    if not isinstance(text, str):
        example = f'"The {relation[:40]} of {PLACEHOLDER} is"'
        return f"must be a text like {example}, or a list of such texts"
    if PLACEHOLDER not in text:
        return f"must hold {PLACEHOLDER} where the subject's name goes"
    if len(text) > MAX_TEMPLATE_CHARS or text.count(PLACEHOLDER) > 1:
        return f"holds {PLACEHOLDER} once and has at most {MAX_TEMPLATE_CHARS} characters"
    if "\x00" in text:
        return "must not hold the character NUL"
    return None
