"""SCEN: one low-rank expert on the FFN's last projection per fact, many facts trained side by side.

After arXiv 2404.02699 (stage 1). The paper copies the whole projection W for each fact; here an expert is W + B_i A_i of
rank r. Facts do not share a parameter, so a batch of them is trained at once with batched matmuls, the layers below the
edited one run once, and a fact that has converged leaves the batch.
"""

import math
from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from editors.base import Base
from editors.optimizer import RowAdam
from editors.passes import Replay, answer_logits, capture
from editors.requests import EditRequest
from editors.routed import low_rank_delta
from editors.shards import STORED_DTYPE, Shard, ShardHeader
from editors.training import Lesson, Progress, check_requests, lay_out, row_losses, scope_entries, size_at


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
    max_steps: int = Field(40, ge=1, le=1000)
    min_steps: int = Field(8, ge=1, le=1000, description="steps before a fact may leave the batch")
    stop_loss: float = Field(
        0.02, gt=0, description="a fact leaves the batch when all its rows are under this loss"
    )
    openings: int = Field(0, ge=0, le=4, description="training rows per fact behind unrelated text")
    rephrases: int = Field(2, ge=0, le=32, description="the request's own rephrases to train on")
    batch_size: int = Field(64, ge=1, le=4096, description="facts trained side by side")
    seed: int = 0
    max_answer_tokens: int = Field(
        16, ge=1, le=256, description="how much of the base's answer the scope index keeps"
    )


class ScenEditor:
    """Trains one expert per fact; see the module for how."""

    name = "scen"

    def __init__(self, settings: ScenSettings) -> None:
        self.settings = settings

    def apply(
        self, requests: Sequence[EditRequest], *, base: Base, progress: Progress | None = None
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
        entries, keys = scope_entries(base, requests, max_answer_tokens=self.settings.max_answer_tokens)
        header = ShardHeader(
            editor=self.name,
            base_hash=base.hash,
            layer=base.layer,
            settings=self.settings.model_dump(),
            entries=entries,
        )
        tensors = {
            "scope.key": keys.to(STORED_DTYPE),
            "scen.a": torch.cat([a for a, _ in parts]).to(STORED_DTYPE),
            "scen.b": torch.cat([b for _, b in parts]).to(STORED_DTYPE),
        }
        return Shard(header, tensors)

    def _train(self, base: Base, requests: Sequence[EditRequest]) -> tuple[Tensor, Tensor]:
        """Experts of one batch on the CPU: A (n, r, f) and B (n, d, r)."""
        s = self.settings
        lesson = lay_out(base, requests, openings=s.openings, rephrases=s.rephrases, seed=s.seed)
        with capture(base.down_proj, "input") as reads:
            replay = Replay(base, lesson.rows.ids, lesson.rows.mask)
        in_size = size_at(reads[0], lesson.rows) / s.read_scale
        out_size = size_at(replay.entering, lesson.rows)
        generator = torch.Generator().manual_seed(s.seed)
        width = base.ffn_width
        a = torch.randn(1, s.rank, width, generator=generator).expand(len(requests), -1, -1) / math.sqrt(
            width
        )
        b = torch.zeros(len(requests), base.hidden_size, s.rank)
        optimizer = RowAdam([a.to(base.device), b.to(base.device)], learning_rate=s.learning_rate)
        self._descend(base, lesson, replay, optimizer, in_size=in_size, out_size=out_size)
        a, b = optimizer.parameters
        return (a / in_size).cpu(), (b * out_size).cpu()

    def _descend(
        self,
        base: Base,
        lesson: Lesson,
        replay: Replay,
        optimizer: RowAdam,
        *,
        in_size: float,
        out_size: float,
    ) -> None:
        rows = lesson.rows
        learning = torch.ones(lesson.edits, dtype=torch.bool, device=base.device)
        for step in range(self.settings.max_steps):
            chosen = learning[rows.owner].nonzero().squeeze(1)
            owner = rows.owner[chosen]
            a, b = (p.requires_grad_() for p in optimizer.parameters)

            def hook(
                _: object,
                args: tuple[Tensor, ...],
                out: Tensor,
                a: Tensor = a,
                b: Tensor = b,
                owner: Tensor = owner,
            ) -> Tensor:
                delta = low_rank_delta(args[0].float() / in_size, a[owner], b[owner]) * out_size
                return out + delta.to(out.dtype)

            handle = base.down_proj.register_forward_hook(hook)
            try:
                logits = answer_logits(base, replay.hidden(chosen), rows.positions[chosen])
            finally:
                handle.remove()
            losses = row_losses(logits, rows.targets[chosen])
            gradients = torch.autograd.grad(losses.sum(), [a, b])
            worst = torch.zeros(lesson.edits, device=base.device)
            worst = worst.scatter_reduce(0, owner, losses.detach(), reduce="amax")
            if step >= self.settings.min_steps:
                learning &= worst > self.settings.stop_loss
                if not learning.any():
                    return
            optimizer.step(gradients, moving=learning)
