"""What scripted models of the checks' tests share: they follow generations and know no experts."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from edits.prompts import Prompt


@dataclass
class Said:
    text: str
    edit_id: str | None = None


@dataclass
class FollowingModel:
    """Can be brought to a generation and do without edits; what it says is its test's own affair."""

    generation: int = 0
    base_hash: str = field(default="base", kw_only=True)
    trials: int = field(default=0, kw_only=True)
    off: frozenset[str] = field(default=frozenset(), kw_only=True)  # the edits that it does without

    def fits(self, prompt: Prompt) -> bool:
        return len(str(prompt)) < 1_000

    @property
    def asks_chat(self) -> bool:
        return False

    @property
    def unserved(self) -> frozenset[str]:
        return frozenset()

    def own_expert(self, edit_id: str, fired: str | None) -> bool | None:
        return None

    @contextmanager
    def at(self, generation: int) -> Iterator[None]:
        before, self.generation = self.generation, generation
        yield
        self.generation = before

    @contextmanager
    def without(self, edit_ids: Collection[str]) -> Iterator[None]:
        self.trials += 1
        self.off = frozenset(edit_ids)
        yield
        self.off = frozenset()
