"""Edits by what they are looked up by: a plain id where one edit has a key, as most have; an ordered list where many do."""

from bisect import bisect_left
from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

from edits.recency import arrival

_Key = TypeVar("_Key", bound=Hashable)


class EditsByKey(Generic[_Key]):
    """Ids of edits by key, oldest first.

    Asking costs one look-up, adding and removing a bisection more, however many edits there are.
    """

    def __init__(self) -> None:
        self._held: dict[_Key, str | list[str]] = {}

    def __len__(self) -> int:
        """How many keys are known."""
        return len(self._held)

    def __contains__(self, key: object) -> bool:
        return key in self._held

    def get(self, key: _Key) -> Sequence[str]:
        """The ids of a key, from the oldest to the newest."""
        held = self._held.get(key)
        if held is None:
            return ()
        return (held,) if isinstance(held, str) else held

    def add(self, key: _Key, edit_id: str) -> bool:
        """Whether it was new."""
        held = self._held.get(key)
        if held is None:
            self._held[key] = edit_id
        elif isinstance(held, str):
            if held == edit_id:
                return False
            self._held[key] = sorted((held, edit_id), key=arrival)
        else:
            place = _place(held, edit_id)
            if _stands(held, place, edit_id):
                return False
            held.insert(place, edit_id)
        return True

    def remove(self, key: _Key, edit_id: str) -> bool:
        """Whether it was there."""
        held = self._held.get(key)
        if held == edit_id:
            del self._held[key]
            return True
        if (
            held is None
            or isinstance(held, str)
            or not _stands(held, place := _place(held, edit_id), edit_id)
        ):
            return False
        del held[place]
        if len(held) == 1:
            self._held[key] = held[0]
        return True


def _place(ids: Sequence[str], edit_id: str) -> int:
    if arrival(edit_id) > arrival(ids[-1]):  # as a rule: edits come in the order of their ids
        return len(ids)
    return bisect_left(ids, arrival(edit_id), key=arrival)


def _stands(ids: Sequence[str], place: int, edit_id: str) -> bool:
    return place < len(ids) and ids[place] == edit_id
