"""Which rows a training step learns: plain ones or those in chat, and of each edit the row whose turn it is."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from editors.methods.common.training_rows import CachedRows


def form_of_step(step: int, forms: int, chat_share: float) -> int:
    """Which form's rows a step learns: 0 plain ones, 1 those in chat, whose steps are this share and evenly spread."""
    return int(forms > 1 and math.floor((step + 1) * chat_share) > math.floor(step * chat_share))


class RowSchedule:
    """The rows of one form, learned one of each edit at a time, each edit's own prompt first.

    Attributes:
        rows: all of them.
    """

    def __init__(self, rows: CachedRows, edits: int) -> None:
        self.rows = rows
        # (R,) what each row's loss was when it was last learned.
        self._losses = torch.full(rows.owner.shape, torch.inf, device=rows.owner.device)
        self._edits = edits
        self._place, self._count = places_by_owner(rows.owner, edits)
        self._steps = 0

    def next_rows(self, learning: Tensor, *, own_alone: bool) -> tuple[Tensor, Tensor]:
        """The next row (C,) of each edit that is `learning` (n,), and for which edits (n,) that is the own prompt."""
        now = torch.zeros_like(self._count) if own_alone else self._steps % self._count
        self._steps += 1
        owner = self.rows.owner
        return (learning[owner] & (self._place == now[owner])).nonzero().squeeze(1), now == 0

    def record(self, chosen: Tensor, losses: Tensor) -> None:
        """Keep what rows (C,) lost (C,) in this step."""
        self._losses[chosen] = losses.detach()

    def largest_losses(self, *, own_alone: bool) -> Tensor:
        """(n,) the largest of each edit's losses; `own_alone`: its own prompt's."""
        judged = self._losses.where(self._place == 0, 0.0) if own_alone else self._losses
        none = torch.zeros(self._edits, device=judged.device)
        return none.scatter_reduce(0, self.rows.owner, judged, reduce="amax")


def largest_losses(schedules: Sequence[RowSchedule], *, own_alone: bool) -> Tensor:
    """(n,) the same over the rows of all forms."""
    return torch.stack([one.largest_losses(own_alone=own_alone) for one in schedules]).amax(0)


def places_by_owner(owner: Tensor, edits: int) -> tuple[Tensor, Tensor]:
    """For rows with owners (R,): each row's place among its edit's rows (R,), and how many rows each edit has (n,)."""
    count = torch.bincount(owner, minlength=edits)
    order = owner.argsort(stable=True)
    first = count.cumsum(0) - count
    place = torch.empty_like(owner)
    place[order] = torch.arange(len(owner), device=owner.device) - first[owner[order]]
    return place, count
