"""What an editor may ask of the model that its edits will join."""

from typing import Protocol

from editors.adapters.bank import ExpertRow
from editors.index.matcher import QuestionMatcher
from editors.store.header import Agreement, Routing


class ParentModel(Protocol):
    """An edited model, as an editor sees it: its live edits and how it reads prompts; nothing of it can be changed."""

    @property
    def matcher(self) -> QuestionMatcher | None:
        """Reads what a prompt asks from its text; None: the base's own answers decide."""

    @property
    def agreement(self) -> Agreement:
        """How far the base's own answers told questions apart, over the live edits."""

    def experts(self, routing: Routing) -> dict[str, ExpertRow]:
        """The live edits of one kind of routing, in the order in which they came to be live."""
