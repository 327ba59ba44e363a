"""The edit request: what every package means by "change this fact". Imports no torch."""

from dataclasses import dataclass
from typing import TypeAlias

EditId: TypeAlias = str
"""What an edit is known by everywhere: any text; the ledger's own are its numbers in decimal."""


@dataclass(frozen=True, slots=True)
class EditRequest:
    """One fact that the model shall answer differently from now on.

    `rephrase_prompts` may be used for training; held-out rephrases used for scoring never stand here.
    `locality_prompts` are prompts whose answer must stay the base's. `phrasings` are known phrasings of its relation, with
    this subject put in: the index reads them, nothing is trained on them.
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

    @property
    def surface_forms(self) -> tuple[str, ...]:
        """The subject and its aliases: the names under which a prompt may name it."""
        return tuple(dict.fromkeys((self.subject, *self.aliases)))
