"""Which of several edits of one fact counts: the newest, whatever arrives last. This is the one place of that rule.

Two edits are *rivals* if they share a fact or a prompt (`rival_keys`), or ask one question of one subject in other words,
which an index or a base has to say, and may be one fact (`may_be_one_fact`). Of rivals the one with the greatest *recency*
wins. The planner, the ledger, rollback and the evaluator ask this module. A router sees live edits alone, among which the
ledger has left no rivals by key; between two that may both answer, their `arrival` decides, the last part of recency.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Protocol, TypeAlias, TypeVar

from edits.ids import EditId

Arrival: TypeAlias = tuple[int, EditId]
Recency: TypeAlias = tuple[datetime, int, Arrival]


class Rival(Protocol):
    """What the rule reads of an edit."""

    @property
    def fact_key(self) -> str: ...

    @property
    def prompt_key(self) -> str | None: ...

    @property
    def recency(self) -> Recency: ...


class Named(Protocol):
    """What tells whether two edits are of one fact."""

    @property
    def relation(self) -> str | None: ...

    @property
    def fact_key(self) -> str: ...


_Rival = TypeVar("_Rival", bound=Rival)


def recency_of(occurred_at: datetime, offset: int, edit_id: EditId) -> Recency:
    """Greater is newer: when the fact changed, then the record's place in its topic, then the order of arrival."""
    return (occurred_at, offset, arrival(edit_id))


def arrival(edit_id: EditId) -> Arrival:
    """Orders ids of edits as they arrived; ids that are no numbers stand before all others."""
    return (int(edit_id) if edit_id.isdecimal() else 0, edit_id)


def by_arrival(edit_ids: Iterable[EditId]) -> list[EditId]:
    """The ids in the order in which their edits arrived."""
    return sorted(edit_ids, key=arrival)


def rival_keys(edit: Rival) -> Iterator[tuple[str, str]]:
    """Edits that share one of these are rivals: the fact, before the prompt."""
    yield "fact", edit.fact_key
    if edit.prompt_key is not None:
        yield "prompt", edit.prompt_key


def may_be_one_fact(one: Named, other: Named) -> bool:
    """Whether edits that ask the same in other words may be one fact: not if both name their relation and it differs."""
    return one.relation is None or other.relation is None or one.fact_key == other.fact_key


def newest_first(rivals: Iterable[_Rival]) -> list[_Rival]:
    """In falling recency."""
    return sorted(rivals, key=lambda edit: edit.recency, reverse=True)
