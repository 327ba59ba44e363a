"""SCEN's training: by schedule, each step learns the hardest row of each fact; a fact that has converged is frozen."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from editors.adapters.apply import low_rank_delta
from editors.base.base import Base
from editors.methods.common.optimizer import RowAdam
from editors.methods.common.schedule import RowSchedule
from editors.methods.common.training_batch import TrainingBatch
from editors.methods.common.training_rows import CachedRows, Delta, rms
from editors.methods.scen.settings import ScenSettings

# A's step is the learning rate up to this width of the FFN and falls with the width: Adam moves all that A reads at once,
# so that what one step adds to A x grows with it (muP, arXiv 2203.03466, table 3). B reads `rank` numbers on every base.
WIDTH_OF_RATE = 528


@dataclass(frozen=True, slots=True)
class _Scale:
    """The size (n, 1, 1) of what each expert reads, and of what it adds: parameters are trained in these units.

    Of the edit's own prompt alone: in any company an edit is trained alike.
    """

    read: Tensor
    added: Tensor

    @classmethod
    def of(cls, plain: CachedRows, edits: int, *, read_scale: float) -> "_Scale":
        """Of rows that begin with each edit's own prompt."""
        return cls(
            rms(plain.reads_last[:edits], 1).view(-1, 1, 1) / read_scale,
            rms(plain.entering_last[:edits], 1).view(-1, 1, 1),
        )


def train_experts(base: Base, batch: TrainingBatch, settings: ScenSettings) -> tuple[Tensor, Tensor]:
    """Experts of one batch on the CPU: A (n, r, f) and B (n, d, r)."""
    rows = CachedRows(base, base.down_proj, batch.own_first)
    schedule = RowSchedule(rows, batch.edits, forms=len(batch.forms), stop_loss=settings.stop_loss)
    scale = _Scale.of(rows, batch.edits, read_scale=settings.read_scale)
    rate = settings.learning_rate
    rates = (rate * min(1.0, WIDTH_OF_RATE / base.ffn_width), rate)
    optimizer = RowAdam(_initial(base, batch.edits, settings), learning_rates=rates)
    _descend(schedule, optimizer, scale, settings)
    a, b = optimizer.parameters
    return (a / scale.read).cpu(), (b * scale.added).cpu()


def _initial(base: Base, edits: int, settings: ScenSettings) -> list[Tensor]:
    """A random, the same for every fact, and B zero: an expert begins by changing nothing."""
    width = base.ffn_width
    generator = torch.Generator().manual_seed(settings.seed)
    a = torch.randn(1, settings.rank, width, generator=generator).expand(edits, -1, -1) / math.sqrt(width)
    b = torch.zeros(edits, base.hidden_size, settings.rank)
    return [a.to(base.device), b.to(base.device)]


def _descend(schedule: RowSchedule, optimizer: RowAdam, scale: _Scale, settings: ScenSettings) -> None:
    """Learn until all facts are frozen or the steps are spent.

    What has not been learned by half of the steps learns its own prompts alone, in turn.
    """
    a = optimizer.parameters[0]
    learning = torch.ones(len(a), dtype=torch.bool, device=a.device)
    for step in range(settings.max_steps):
        own_alone = step >= settings.max_steps // 2
        chosen, own = schedule.next_rows(learning, own_alone=own_alone)
        gradients = _gradients(schedule, chosen, optimizer, scale)
        if step >= settings.min_steps:
            largest = schedule.largest_losses(own_alone=own_alone)
            # Only when its own prompt was just asked: the other rows may have moved the expert since it last was.
            learning &= (largest > settings.stop_loss) | ~own
            if not learning.any():
                return
        optimizer.step(gradients, moving=learning)


def _gradients(
    schedule: RowSchedule, chosen: Tensor, optimizer: RowAdam, scale: _Scale
) -> tuple[Tensor, ...]:
    """Of A and B, from the losses of the chosen rows, which the schedule keeps."""
    a, b = (parameter.requires_grad_() for parameter in optimizer.parameters)

    def delta_of(owner: Tensor) -> Delta:
        read, added = scale.read[owner], scale.added[owner]
        return lambda x: low_rank_delta(x.float() / read, a[owner], b[owner]) * added

    losses = schedule.rows.losses(delta_of, chosen)
    schedule.record(chosen, losses)
    return torch.autograd.grad(losses.sum(), [a, b])
