"""The edit request: what every package means by "change this fact". Imports no torch."""

from dataclasses import dataclass, field

from edits.errors import BadRequest
from edits.ids import EditId
from edits.names.naming import naming_fault
from edits.rules import (
    MAX_ALIASES,
    MAX_ID_CHARS,
    MAX_LOCALITY_PROMPTS,
    MAX_NAME_CHARS,
    MAX_PROMPT_CHARS,
    MAX_RELATION_CHARS,
    MAX_REPHRASES,
    why_not_one_line,
    why_not_text,
)

_REQUIRED = ("edit_id", "subject", "prompt", "target_new")
_LIMITS = {
    "edit_id": MAX_ID_CHARS,
    "subject": MAX_NAME_CHARS,
    "prompt": MAX_PROMPT_CHARS,
    "target_new": MAX_NAME_CHARS,
    "ground_truth": MAX_NAME_CHARS,
    "relation": MAX_RELATION_CHARS,
}
_LISTS = {  # how many texts, and how long
    "aliases": (MAX_ALIASES, MAX_NAME_CHARS),
    "rephrase_prompts": (MAX_REPHRASES, MAX_PROMPT_CHARS),
    "locality_prompts": (3 * MAX_LOCALITY_PROMPTS, MAX_PROMPT_CHARS),
}


def _require(name: str, reason: str | None) -> None:
    if reason is not None:
        raise BadRequest(f"{name}: {reason}")


@dataclass(frozen=True, slots=True)
class EditRequest:
    """One fact that the model shall answer differently from now on.

    `rephrase_prompts` may be used for training; held-out rephrases used for scoring never stand here.
    `locality_prompts` are prompts whose answer must stay the base's. `phrasings` are known phrasings of its relation, with
    this subject put in: the index reads them, nothing is trained on them.

    Attributes:
        accepted: an earlier check, perhaps an earlier release's, took this fact: how it is named is not asked again.
    """

    edit_id: EditId
    subject: str
    prompt: str
    target_new: str
    ground_truth: str | None = None
    relation: str | None = None
    aliases: tuple[str, ...] = ()
    rephrase_prompts: tuple[str, ...] = ()
    locality_prompts: tuple[str, ...] = ()
    phrasings: tuple[str, ...] = ()
    accepted: bool = field(default=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse what a fact event of the same content is refused for.

        Raises:
            BadRequest: a text is blank, too long or not storable; the answer has a line break; a text stands for a list;
                the prompt does not name the subject, or a name names nothing.
        """
        for name, limit in _LIMITS.items():
            value = getattr(self, name)
            if value is not None or name in _REQUIRED:
                _require(name, why_not_text(value, limit))
        _require("target_new", why_not_one_line(self.target_new))
        for name, (count, limit) in _LISTS.items():
            texts = getattr(self, name)
            if isinstance(texts, str):
                raise BadRequest(f"{name}: must be several texts, not one")
            object.__setattr__(self, name, tuple(texts))
            if len(texts) > count:
                raise BadRequest(f"{name}: must be at most {count} texts")
            for text in texts:
                _require(name, why_not_text(text, limit))
        if not self.accepted and (fault := naming_fault(self.prompt, self.surface_forms)) is not None:
            raise BadRequest(fault.reason)

    @property
    def surface_forms(self) -> tuple[str, ...]:
        """The subject and its aliases: the names under which a prompt may name it."""
        return tuple(dict.fromkeys((self.subject, *self.aliases)))
