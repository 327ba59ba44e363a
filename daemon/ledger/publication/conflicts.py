"""Who wins when edits speak of one fact: the newest, whatever arrives last. Free of SQL."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from daemon.ledger.store.rows import Standing
from edits.ids import EditId
from edits.recency import newest_first, rival_keys


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a publication does to each edit it touches."""

    enabled: tuple[Standing, ...] = ()  # candidates that go live
    in_force: tuple[Standing, ...] = ()  # candidate retractions that take effect
    too_late: dict[EditId, Standing] = field(
        default_factory=dict
    )  # candidate id -> the newer edit that stands
    displaced: dict[EditId, Standing] = field(
        default_factory=dict
    )  # live edit's id -> the candidate that ends it


def settle(
    candidates: Sequence[Standing],
    standing: Sequence[Standing],
    same: Mapping[EditId, Iterable[EditId]] | None = None,
) -> Settlement:
    """Settle candidates (verified assertions, retractions) against live edits and retractions in force.

    Rivals share a fact or a prompt, or `same` says of one that it asks what the other asks, in other words.

    Everything is taken from the newest to the oldest. A candidate assertion that has a newer rival is too
    late, and so is a candidate retraction that has a newer assertion as its rival. What was live stays live
    unless a candidate that got through is newer: an edit that lost displaces nobody.
    """
    is_candidate = {edit.id for edit in candidates}
    enabled: list[Standing] = []
    in_force: list[Standing] = []
    too_late: dict[EditId, Standing] = {}
    displaced: dict[EditId, Standing] = {}
    through = _Through(same or {})
    for edit in newest_first((*candidates, *standing)):
        newer = through.rivals(edit)
        if edit.id not in is_candidate:
            newer = [rival for rival in newer if rival.id in is_candidate and edit.op == "assert"]
        elif edit.op == "retract":
            newer = [rival for rival in newer if rival.op == "assert"]
        if not newer:
            through.add(edit)
            if edit.id in is_candidate:
                (in_force if edit.op == "retract" else enabled).append(edit)
        elif edit.id in is_candidate:
            too_late[edit.id] = newer[0]
        else:
            displaced[edit.id] = newer[0]
    return Settlement(tuple(enabled), tuple(in_force), too_late, displaced)


class _Through:
    """Edits that got through, found again by fact, by prompt or as asking the same."""

    def __init__(self, same: Mapping[EditId, Iterable[EditId]]) -> None:
        self._edits: dict[tuple[str, str], list[Standing]] = {}
        self._by_id: dict[EditId, Standing] = {}
        self._same: dict[EditId, set[EditId]] = {}
        for one, others in same.items():
            for other in others:
                self._same.setdefault(one, set()).add(other)
                self._same.setdefault(other, set()).add(one)

    def add(self, edit: Standing) -> None:
        self._by_id[edit.id] = edit
        for key in rival_keys(edit):
            self._edits.setdefault(key, []).append(edit)

    def rivals(self, edit: Standing) -> list[Standing]:
        found = {rival.id: rival for key in rival_keys(edit) for rival in self._edits.get(key, ())}
        found |= {i: self._by_id[i] for i in self._same.get(edit.id, ()) if i in self._by_id}
        return newest_first(found.values())
