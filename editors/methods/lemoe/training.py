"""LEMoE's training: in rounds, each step learns the rows of one form that are left, until every row's loss is low."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from editors.base.base import Base
from editors.methods.common.schedule import LastLosses
from editors.methods.common.training_batch import TrainingBatch
from editors.methods.common.training_rows import CachedRows, Delta, DeltaOf, rms
from editors.methods.lemoe.settings import LemoeSettings

# A row is learned well under this share of the loss at which training stops; every so many steps all rows are learned again.
LEARNED_WELL, REVIEW = 0.5, 4
# How long a further round is, of the first one.
AGAIN = 0.4
# What further rounds are for: a row under this loss is answered rightly, though not as surely as the first round wants it.
LEFT = 0.3


@dataclass(frozen=True, slots=True)
class TrainedExpert:
    """W_in (m, d), W_out (d, m) and each edit's g (n, m)."""

    w_in: Tensor
    w_out: Tensor
    gate: Tensor


class _Parameters:
    """What is trained, in units of the base's own activations."""

    def __init__(self, base: Base, plain: CachedRows, edits: int, settings: LemoeSettings) -> None:
        d, width = base.hidden_size, settings.width
        generator = torch.Generator().manual_seed(settings.seed)

        def drawn() -> Tensor:
            weight = torch.randn(width, d, generator=generator) / math.sqrt(d)
            return weight.to(base.device).requires_grad_()

        self._w_in, self._u = drawn(), drawn()
        self._w_out = torch.zeros(d, width, device=base.device).requires_grad_()
        self._anchors = _anchors(plain.reads_last[:edits])
        self._read_scale = settings.live_scale / rms(plain.reads_last)
        self._added_scale = rms(plain.entering_last)

    @property
    def trained(self) -> list[Tensor]:
        return [self._w_in, self._u, self._w_out]

    def expert(self) -> TrainedExpert:
        """The expert as it stands, with gradients."""
        return TrainedExpert(
            self._w_in * self._read_scale, self._w_out * self._added_scale, self._anchors @ self._u.T
        )


def train_expert(
    base: Base, batch: TrainingBatch, settings: LemoeSettings, report: Callable[[int, int], None]
) -> TrainedExpert:
    """The expert of one batch; `report` is called with (done, total) steps."""
    forms = [CachedRows(base, base.ffn, rows) for rows in batch.forms]
    parameters = _Parameters(base, forms[0], batch.edits, settings)
    turns = [_Turns(rows, stop_loss=settings.stop_loss) for rows in forms]
    optimizer = torch.optim.AdamW(
        parameters.trained, lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    rates = _rates(settings)
    for step, rate in enumerate(rates):
        for group in optimizer.param_groups:
            group["lr"] = rate
        form = form_of_step(step, len(forms), settings.chat_share)
        chosen = turns[form].next_rows()
        losses = forms[form].losses(_deltas(parameters.expert()), chosen)
        turns[form].record(chosen, losses)
        report(step, len(rates))
        enough = settings.stop_loss if step < settings.max_steps else max(settings.stop_loss, LEFT)
        if len(chosen) == len(forms[form].owner) and max(of.largest for of in turns) < enough:
            break
        optimizer.zero_grad()
        (losses.sum() / len(forms[form].owner)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return parameters.expert()


def form_of_step(step: int, forms: int, chat_share: float) -> int:
    """Which form's rows a step learns: 0 plain ones, 1 those in chat, whose steps are this share and evenly spread."""
    return int(forms > 1 and math.floor((step + 1) * chat_share) > math.floor(step * chat_share))


def _rates(settings: LemoeSettings) -> list[float]:
    """The rate of each step: in each round it falls from `learning_rate` to `last_rate` of it.

    The first has `max_steps`; those that follow, for rows that are left, are shorter (warm restarts, arXiv 1608.03983).
    """
    again = max(1, round(settings.max_steps * AGAIN))
    rounds = [settings.max_steps, *[again] * (settings.max_rounds - 1)]
    return [
        settings.learning_rate * (1 - step / steps * (1 - settings.last_rate))
        for steps in rounds
        for step in range(steps)
    ]


class _Turns(LastLosses):
    """Which rows of one form a step learns: those that are not learned well yet, and in every fourth step all.

    What is learned hardly moves the expert, and costs a pass all the same; but one expert serves all rows, and may forget.
    """

    def __init__(self, rows: CachedRows, *, stop_loss: float) -> None:
        super().__init__(rows)
        self._well = stop_loss * LEARNED_WELL
        self._steps = 0

    def next_rows(self) -> Tensor:
        """The rows (C,) of this step."""
        due = self.values > self._well
        if self._steps % REVIEW == 0 or not bool(due.any()):
            due = torch.ones_like(due)
        self._steps += 1
        return due.nonzero().squeeze(1)

    @property
    def largest(self) -> float:
        return float(self.values.max())


def _deltas(expert: TrainedExpert) -> DeltaOf:
    def delta_of(owner: Tensor) -> Delta:
        gate = expert.gate[owner][:, None]
        # One expert for all rows: plain products.
        return lambda x: torch.nn.functional.silu(x.float() @ expert.w_in.T + gate) @ expert.w_out.T

    return delta_of


def _anchors(reads: Tensor) -> Tensor:
    """(n, d): what is read at each own prompt's last token (n, d), centred over the batch and scaled to unit size."""
    anchors = reads - reads.mean(0) if len(reads) > 1 else reads
    return anchors / anchors.pow(2).mean().sqrt().clamp(min=1e-6)
