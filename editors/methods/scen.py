"""SCEN: one low-rank expert on the FFN's last projection per fact, many facts trained side by side.

After arXiv 2404.02699 (stage 1). The paper copies the whole projection W for each fact; here an expert is W + B_i A_i of
rank r. Facts do not share a parameter, so a batch of them is trained at once with batched matmuls, the layers below the
edited one run once, and a fact that has converged leaves the batch.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from editors.adapters.apply import low_rank_delta
from editors.base.base import Base
from editors.methods.calibration import scopes
from editors.methods.chat_answers import ChatAnswer, chat_answers
from editors.methods.optimizer import RowAdam
from editors.methods.training import Progress, check_requests, form_of_step, lay_out, size_of
from editors.methods.training_rows import Delta, TaughtRows
from editors.routing.neurons import index_together, neuron_entries
from editors.routing.parent import ParentModel
from editors.store.header import ShardHeader
from editors.store.shards import STORED_DTYPE, Shard
from edits.requests import EditRequest


class ScenSettings(BaseModel):
    """How SCEN trains; learning rate and stop are relative to the base's own activations, so one default serves all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(4, ge=1, le=256, description="rank of each expert")
    learning_rate: float = Field(
        0.03, gt=0, lt=1, description="Adam step, in units of the residual stream's size"
    )
    read_scale: float = Field(
        0.3,
        gt=0,
        le=10,
        description="size of what A reads; small, so that A turns to the fact instead of staying random",
    )
    max_steps: int = Field(60, ge=1, le=1000)
    min_steps: int = Field(9, ge=1, le=1000, description="steps before a fact may leave the batch")
    stop_loss: float = Field(
        0.01, gt=0, description="a fact leaves the batch when all its rows are under this loss"
    )
    openings: int = Field(0, ge=0, le=4, description="training rows per fact behind unrelated text")
    other_questions: int = Field(
        2, ge=0, le=4, description="training rows per fact that ask something else of its subject"
    )
    rephrases: int = Field(2, ge=0, le=32, description="the request's own rephrases to train on")
    chat_rows: int = Field(
        1, ge=1, le=8, description="training rows per fact through the base's chat template, if it has one"
    )
    chat_share: float = Field(
        0.5, gt=0, lt=1, description="share of the training steps that learn rows in chat, if there are any"
    )
    chat_answer: ChatAnswer = Field(
        "value", description="what is taught in chat: the bare value, or the base's own sentence with it"
    )
    batch_size: int = Field(64, ge=1, le=4096, description="facts trained side by side")
    seed: int = 0
    max_answer_tokens: int = Field(
        16, ge=1, le=256, description="how much of the base's answer the scope index keeps"
    )
    target_false_fire: float = Field(
        0.01, ge=0, le=0.5, description="share of prompts out of scope that may fire; sets the thresholds"
    )
    routing: Literal["scope", "neuron"] = Field(
        "scope", description="what decides that an edit fires: the scope index, or the paper's neurons"
    )
    neuron_learning_rate: float = Field(4e-4, gt=0, lt=1, description="Adam step of the neurons")
    neuron_steps: int = Field(20, ge=1, le=1000)
    theta: float = Field(0.65, ge=0, le=1, description="a neuron's score must be over this to fire")


class ScenEditor:
    """Trains one expert per fact; see the module for how."""

    name = "scen"

    def __init__(self, settings: ScenSettings) -> None:
        self.settings = settings

    def apply(
        self,
        requests: Sequence[EditRequest],
        *,
        base: Base,
        parent: ParentModel | None = None,
        progress: Progress | None = None,
    ) -> Shard:
        """Train experts for `requests` and return them as one shard; the base is left as it was.

        Raises:
            BadRequest: a request that cannot be learned as it stands.
            DeviceBusy: out of device memory.
        """
        check_requests(requests)
        parts: list[tuple[Tensor, Tensor]] = []
        for start in range(0, len(requests), self.settings.batch_size):
            chunk = requests[start : start + self.settings.batch_size]
            parts.append(self._train(base, chunk))
            if progress is not None:
                progress("train", start + len(chunk), len(requests))
        weights = {
            "scen.a": torch.cat([a for a, _ in parts]).to(STORED_DTYPE),
            "scen.b": torch.cat([b for _, b in parts]).to(STORED_DTYPE),
        }
        s = self.settings
        if s.routing == "neuron":
            neurons = index_together(
                base, requests, parent, rate=s.neuron_learning_rate, steps=s.neuron_steps
            )
            header = self._header(base, entries=neuron_entries(requests, s.theta))
            return Shard(header, {**neurons, **weights})
        scope = scopes(
            base,
            requests,
            parent=parent,
            max_answer_tokens=s.max_answer_tokens,
            target_false_fire=s.target_false_fire,
            seed=s.seed,
        )
        header = self._header(
            base,
            entries=scope.entries,
            questions=scope.questions,
            calibration=scope.calibration,
            encoder_hash=scope.encoder_hash,
        )
        return Shard(header, {**scope.tensors, **weights})

    def _header(self, base: Base, **of_index: Any) -> ShardHeader:
        return ShardHeader(
            editor=self.name,
            routing=self.settings.routing,
            base_hash=base.hash,
            layer=base.layer,
            settings=self.settings.model_dump(),
            **of_index,
        )

    def _train(self, base: Base, requests: Sequence[EditRequest]) -> tuple[Tensor, Tensor]:
        """Experts of one batch on the CPU: A (n, r, f) and B (n, d, r)."""
        s = self.settings
        lesson = lay_out(
            base,
            requests,
            openings=s.openings,
            other_questions=s.other_questions,
            rephrases=s.rephrases,
            seed=s.seed,
            chat_answers=chat_answers(base, requests, style=s.chat_answer),
            chat_rows=s.chat_rows,
        )
        forms = [_Form(TaughtRows(base, base.down_proj, rows), lesson.edits) for rows in lesson.forms]
        in_size = size_of(forms[0].rows.reads_last) / s.read_scale
        out_size = size_of(forms[0].rows.entering_last)
        generator = torch.Generator().manual_seed(s.seed)
        width = base.ffn_width
        a = torch.randn(1, s.rank, width, generator=generator).expand(len(requests), -1, -1) / math.sqrt(
            width
        )
        b = torch.zeros(len(requests), base.hidden_size, s.rank)
        optimizer = RowAdam([a.to(base.device), b.to(base.device)], learning_rate=s.learning_rate)
        self._descend(forms, lesson.edits, optimizer, in_size=in_size, out_size=out_size)
        a, b = optimizer.parameters
        return (a / in_size).cpu(), (b * out_size).cpu()

    def _descend(
        self, forms: "Sequence[_Form]", edits: int, optimizer: RowAdam, *, in_size: float, out_size: float
    ) -> None:
        """Take turns: each step learns one row of each fact that is still learning, its own prompt first.

        Where there are rows in chat, every so many steps learn one of those. What has not been learned by the last quarter
        of the steps learns its own prompt alone.
        """
        s = self.settings
        learning = torch.ones(edits, dtype=torch.bool, device=optimizer.parameters[0].device)
        for step in range(s.max_steps):
            form = forms[form_of_step(step, len(forms), s.chat_share)]
            alone = step >= s.max_steps * 3 // 4
            chosen, own = form.next_rows(learning, alone=alone)
            a, b = (p.requires_grad_() for p in optimizer.parameters)

            def delta_of(owner: Tensor, a: Tensor = a, b: Tensor = b) -> Delta:
                return lambda x: low_rank_delta(x.float() / in_size, a[owner], b[owner]) * out_size

            losses = form.rows.losses(delta_of, chosen)
            gradients = torch.autograd.grad(losses.sum(), [a, b])
            form.latest[chosen] = losses.detach()
            if step >= s.min_steps:
                worst = torch.stack([one.worst(edits, alone=alone) for one in forms]).amax(0)
                # Only when its own prompt was just asked: the other rows may have moved the expert since it last was.
                learning &= (worst > s.stop_loss) | ~own
                if not learning.any():
                    return
            optimizer.step(gradients, moving=learning)


class _Form:
    """The rows of one form on their way: whose turn it is, and what each row's loss was when it was last learned."""

    def __init__(self, rows: TaughtRows, edits: int) -> None:
        self.rows = rows
        self.latest = torch.full(rows.owner.shape, torch.inf, device=rows.owner.device)
        self._turn, self._count = _turns(rows.owner, edits)
        self._steps = 0

    def next_rows(self, learning: Tensor, *, alone: bool) -> tuple[Tensor, Tensor]:
        """The row whose turn it is of each edit that is learning, and for which edits (n,) that is the own prompt."""
        now = torch.zeros_like(self._count) if alone else self._steps % self._count
        self._steps += 1
        owner = self.rows.owner
        return (learning[owner] & (self._turn == now[owner])).nonzero().squeeze(1), now == 0

    def worst(self, edits: int, *, alone: bool) -> Tensor:
        """(n,) the largest of each edit's losses; `alone`: its own prompt's."""
        judged = self.latest.where(self._turn == 0, 0.0) if alone else self.latest
        none = torch.zeros(edits, device=judged.device)
        return none.scatter_reduce(0, self.rows.owner, judged, reduce="amax")


def _turns(owner: Tensor, edits: int) -> tuple[Tensor, Tensor]:
    """For rows with owners (R,): each row's place among its edit's rows (R,), and how many rows each edit has (n,)."""
    count = torch.bincount(owner, minlength=edits)
    order = owner.argsort(stable=True)
    first = count.cumsum(0) - count
    turn = torch.empty_like(owner)
    turn[order] = torch.arange(len(owner), device=owner.device) - first[owner[order]]
    return turn, count
