"""Which rows a training step learns: what each lost when it was last learned, and of each edit the row that is due."""

import torch
from torch import Tensor

from editors.methods.common.training_rows import CachedRows


class LastLosses:
    """What each row lost when it was last learned; infinite before.

    Attributes:
        rows: all of them.
        values: (R,).
    """

    def __init__(self, rows: CachedRows) -> None:
        self.rows = rows
        self.values = torch.full(rows.owner.shape, torch.inf, device=rows.owner.device)

    def record(self, chosen: Tensor, losses: Tensor) -> None:
        """Keep what rows (C,) lost (C,) in this step."""
        self.values[chosen] = losses.detach()


class RowSchedule(LastLosses):
    """The rows of all forms, learned one of each edit at a time: the hardest.

    That is the row that lost most when it was last learned, one that was not learned yet before all others; where none of an
    edit's rows loses more than `stop_loss`, its own prompt, of two forms the one that was not asked for longer.
    """

    def __init__(self, rows: CachedRows, edits: int, *, forms: int, stop_loss: float) -> None:
        """
        Args:
            rows: each edit's own prompt in each form before its other rows.
        """
        super().__init__(rows)
        self._edits, self._stop_loss = edits, stop_loss
        self._own = places_by_owner(rows.owner, edits) < forms
        self._asked = torch.zeros_like(self.values)  # by step; 0: not yet

    def next_rows(self, learning: Tensor, *, own_alone: bool) -> tuple[Tensor, Tensor]:
        """The next row (C,) of each edit that is `learning` (n,), and for which edits (n,) that is an own prompt."""
        owner = self.rows.owner
        chosen = (learning[owner] & self._due(own_alone=own_alone)).nonzero().squeeze(1)
        own = torch.zeros_like(learning)
        own[owner[chosen]] = self._own[chosen]
        self._asked[chosen] = self._asked.max() + 1
        return chosen, own

    def _due(self, *, own_alone: bool) -> Tensor:
        """(R,) one row of each edit; of own prompts alone the one that was not asked for longest."""
        waiting = -self._asked.where(self._own, torch.inf)
        due_first = waiting if own_alone else self.values.where(self.values > self._stop_loss, waiting)
        order = due_first.argsort(descending=True, stable=True)  # of rows that were never learned the first
        due = torch.zeros_like(self._own)
        due[order[places_by_owner(self.rows.owner[order], self._edits) == 0]] = True
        return due

    def largest_losses(self, *, own_alone: bool) -> Tensor:
        """(n,) the largest of each edit's losses; `own_alone`: its own prompts'."""
        judged = self.values.where(self._own, 0.0) if own_alone else self.values
        none = torch.zeros(self._edits, device=judged.device)
        return none.scatter_reduce(0, self.rows.owner, judged, reduce="amax")


def places_by_owner(owner: Tensor, edits: int) -> Tensor:
    """For rows with owners (R,): each row's place among its edit's rows (R,), in their order."""
    count = torch.bincount(owner, minlength=edits)
    order = owner.argsort(stable=True)
    first = count.cumsum(0) - count
    place = torch.empty_like(owner)
    place[order] = torch.arange(len(owner), device=owner.device) - first[owner[order]]
    return place
