"""Decide which edits still count: of several edits of one fact or one prompt, the newest."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edits.ids import EditId
from edits.recency import by_arrival, newest_first, rival_keys
from planners.values import Pending


@dataclass(frozen=True, slots=True)
class Resolution:
    """`winners` oldest first; `superseded` maps the id of each loser, as they arrived, to the id of its replacement."""

    winners: tuple[Pending, ...]
    superseded: dict[EditId, EditId]


def resolve(edits: Sequence[Pending], rivals: Iterable[Pending] = ()) -> Resolution:
    """Split `edits` into those that are the newest of both their fact and their prompt, and the others.

    `rivals` are edits already on their way, in force, or retracting: they can win, but are never among the
    winners returned. Only `recency` decides, so that the order of arrival changes nothing. An edit that loses
    to one which itself lost by its other key is superseded by the edit at the end of that chain.
    """
    everyone = {edit.edit_id: edit for edit in (*rivals, *edits)}
    newest: dict[tuple[str, str], Pending] = {}
    for edit in everyone.values():
        for key in rival_keys(edit):
            current = newest.get(key)
            if current is None or edit.recency > current.recency:
                newest[key] = edit

    def replacement(edit: Pending) -> Pending:
        """The newer edit to which this one loses, by fact before by prompt; itself if it loses to none."""
        return next((newest[key] for key in rival_keys(edit) if newest[key] is not edit), edit)

    winners, superseded = [], {}
    for edit_id in by_arrival({edit.edit_id for edit in edits}):
        edit = everyone[edit_id]
        winner = replacement(edit)
        if winner is edit:
            winners.append(edit)
            continue
        while (newer := replacement(winner)) is not winner:  # each step is strictly newer: this ends
            winner = newer
        superseded[edit_id] = winner.edit_id
    return Resolution(tuple(reversed(newest_first(winners))), superseded)
