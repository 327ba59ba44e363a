"""Training rows of one form, read by the base once and learned again and again, in groups of like length."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from editors.base.base import Base
from editors.base.passes import Replay, TrainingRows, answer_losses, at_last, capture, training_rows

# A row to learn: which edit it belongs to, the prompt's token ids, the answer's.
Row = tuple[int, list[int], list[int]]
# What experts add to what a module puts out: from what it reads, (R, T, w) -> (R, T, d), in float32.
Delta = Callable[[Tensor], Tensor]
# The same for rows of these owners (R,).
DeltaOf = Callable[[Tensor], Delta]

# Rows are learned in groups where that spares so many tokens of padding in each step, and this share of all.
MIN_SPARED = 128
MIN_SHARE_SPARED = 0.15


@dataclass(frozen=True, slots=True)
class _RowGroup:
    """Rows of like length; `reads` (R, T, w): what the edited module reads; `places` (R,): where they stand among all."""

    rows: TrainingRows
    replay: Replay
    reads: Tensor
    places: Tensor


class CachedRows:
    """Rows in the order in which they were given, whose layers below the edited one have run.

    Attributes:
        owner: (R,) which edit of the batch a row belongs to.
        reads_last: (R, w) in float32, what the edited module reads at each prompt's last token.
        entering_last: (R, d) in float32, what enters the edited layer there.
    """

    def __init__(self, base: Base, module: torch.nn.Module, rows: Sequence[Row]) -> None:
        """
        Args:
            module: of the edited layer, to whose output the experts add: `base.ffn` or `base.down_proj`.
        """
        self._base, self._module = base, module
        lengths = [len(prompt) + len(answer) - 1 for _, prompt, answer in rows]
        self._groups = [self._read([rows[i] for i in places], places) for places in of_like_length(lengths)]
        order = torch.cat([group.places for group in self._groups]).argsort()
        last = [group.rows.prompt_last for group in self._groups]
        self.owner = torch.cat([group.rows.owner for group in self._groups])[order]
        self.reads_last = torch.cat(
            [at_last(group.reads, at) for group, at in zip(self._groups, last, strict=True)]
        )[order]
        self.entering_last = torch.cat(
            [at_last(group.replay.entering, at) for group, at in zip(self._groups, last, strict=True)]
        )[order]

    def _read(self, rows: Sequence[Row], places: Sequence[int]) -> _RowGroup:
        laid = training_rows(self._base, rows)
        with capture(self._module, "input") as reads:
            replay = Replay(self._base, laid.ids, laid.mask, to_the_end=False)
        return _RowGroup(laid, replay, reads[0], torch.tensor(places, device=self._base.device))

    def losses(self, delta_of: DeltaOf, chosen: Tensor | None = None) -> Tensor:
        """Mean cross-entropy over the answer of each chosen row (C,), ascending; None: of all; with gradients.

        The edited layer does not run again where what the module puts out is added as it is.
        """
        found, places = [], []
        for group in self._groups:
            at = None if chosen is None else torch.isin(group.places, chosen).nonzero().squeeze(1)
            if at is None or len(at):
                found.append(self._group_losses(group, delta_of, at))
                places.append(group.places if at is None else group.places[at])
        return torch.cat(found)[torch.cat(places).argsort()]

    def _group_losses(self, group: _RowGroup, delta_of: DeltaOf, at: Tensor | None) -> Tensor:
        rows = group.rows
        at = None if at is not None and len(at) == len(rows.owner) else at
        owner, positions, targets = (
            of if at is None else of[at] for of in (rows.owner, rows.positions, rows.targets)
        )
        reads = group.reads if self._base.adds_directly else None
        hidden = group.replay.with_delta(delta_of(owner), self._module, reads, at)
        return answer_losses(self._base, hidden, positions, targets)


def rms(last: Tensor, dim: int | None = None) -> Tensor:
    """Root mean square of hidden states (R, w), read at the last prompt tokens: of all, or along a dimension.

    Only there: the first token of a text is an attention sink in most models and a hundred times larger than the rest.
    """
    return last.pow(2).mean(dim).sqrt().clamp(min=1e-6)


def of_like_length(lengths: Sequence[int]) -> list[list[int]]:
    """The places of rows, ascending, in groups that are parted in two as long as that spares enough padding."""
    return [
        sorted(places) for places in _parted(sorted(range(len(lengths)), key=lengths.__getitem__), lengths)
    ]


def _parted(order: list[int], lengths: Sequence[int]) -> list[list[int]]:
    count, longest = len(order), lengths[order[-1]]
    spared = [short * (longest - lengths[order[short - 1]]) for short in range(1, count)]
    most = max(spared, default=0)
    if most < max(MIN_SPARED, MIN_SHARE_SPARED * count * longest):
        return [order]
    short = spared.index(most) + 1
    return [*_parted(order[:short], lengths), *_parted(order[short:], lengths)]
