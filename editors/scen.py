"""SCEN: one low-rank expert on the FFN's last projection per fact, many facts trained side by side.

After arXiv 2404.02699 (stage 1). The paper copies the whole projection W for each fact; here an expert is W + B_i A_i of
rank r. Facts do not share a parameter, so a batch of them is trained at once with batched matmuls, the layers below the
edited one run once, and a fact that has converged leaves the batch.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from editors.base import Base
from editors.calibration import scopes
from editors.neurons import index_together, neuron_entries
from editors.optimizer import RowAdam
from editors.passes import Replay, capture
from editors.requests import EditRequest
from editors.routed import low_rank_delta
from editors.shards import STORED_DTYPE, Shard, ShardHeader
from editors.training import Lesson, Progress, answer_losses, check_requests, lay_out, size_at

if TYPE_CHECKING:
    from editors.model import EditedModel


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
        parent: "EditedModel | None" = None,
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
        )
        with capture(base.down_proj, "input") as reads:
            replay = Replay(base, lesson.rows.ids, lesson.rows.mask)
        direct = reads[0] if base.adds_directly else None
        in_size = size_at(reads[0], lesson.rows) / s.read_scale
        out_size = size_at(replay.entering, lesson.rows)
        generator = torch.Generator().manual_seed(s.seed)
        width = base.ffn_width
        a = torch.randn(1, s.rank, width, generator=generator).expand(len(requests), -1, -1) / math.sqrt(
            width
        )
        b = torch.zeros(len(requests), base.hidden_size, s.rank)
        optimizer = RowAdam([a.to(base.device), b.to(base.device)], learning_rate=s.learning_rate)
        self._descend(base, lesson, replay, optimizer, direct, in_size=in_size, out_size=out_size)
        a, b = optimizer.parameters
        return (a / in_size).cpu(), (b * out_size).cpu()

    def _descend(
        self,
        base: Base,
        lesson: Lesson,
        replay: Replay,
        optimizer: RowAdam,
        reads: Tensor | None,
        *,
        in_size: float,
        out_size: float,
    ) -> None:
        """Take turns: each step learns one row of each fact that is still learning, its own prompt first.

        What has not been learned by the last quarter of the steps learns its own prompt alone. `reads`: what the FFN's
        last projection reads, where its layer need not run again to add an expert's delta.
        """
        rows = lesson.rows
        turn, count = _turns(rows.owner, lesson.edits)
        learning = torch.ones(lesson.edits, dtype=torch.bool, device=base.device)
        latest = torch.full(rows.owner.shape, torch.inf, device=base.device)  # losses when last learned
        alone_from = self.settings.max_steps * 3 // 4
        for step in range(self.settings.max_steps):
            now = step % count if step < alone_from else torch.zeros_like(count)  # whose turn it is, per edit
            chosen = (learning[rows.owner] & (turn == now[rows.owner])).nonzero().squeeze(1)
            owner = rows.owner[chosen]
            a, b = (p.requires_grad_() for p in optimizer.parameters)

            def delta(x: Tensor, a: Tensor = a, b: Tensor = b, owner: Tensor = owner) -> Tensor:
                return low_rank_delta(x.float() / in_size, a[owner], b[owner]) * out_size

            hidden = replay.with_delta(delta, base.down_proj, reads, chosen)
            losses = answer_losses(base, hidden, rows.positions[chosen], rows.targets[chosen])
            gradients = torch.autograd.grad(losses.sum(), [a, b])
            latest[chosen] = losses.detach()
            judged = latest if step < alone_from else latest.where(turn == 0, 0.0)
            worst = torch.zeros(lesson.edits, device=base.device)
            worst = worst.scatter_reduce(0, rows.owner, judged, reduce="amax")
            if step >= self.settings.min_steps:
                # Only when its own prompt was just asked: the other rows may have moved the expert since it last was.
                learning &= (worst > self.settings.stop_loss) | (now != 0)
                if not learning.any():
                    return
            optimizer.step(gradients, moving=learning)


def _turns(owner: Tensor, edits: int) -> tuple[Tensor, Tensor]:
    """For rows with owners (R,): each row's place among its edit's rows (R,), and how many rows each edit has (n,)."""
    count = torch.bincount(owner, minlength=edits)
    order = owner.argsort(stable=True)
    first = count.cumsum(0) - count
    turn = torch.empty_like(owner)
    turn[order] = torch.arange(len(owner), device=owner.device) - first[owner[order]]
    return turn, count
