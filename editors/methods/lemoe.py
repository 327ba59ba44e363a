"""LEMoE: one expert per batch of facts beside the FFN, frozen once trained; it reads the matched edit's stored anchor.

After arXiv 2406.20030. In the paper's formula the expert sees the live hidden state alone, which moves with the phrasing:
half of the paraphrases miss. Here (an idea of MEMoE, arXiv 2405.19086) the expert also reads an anchor of the edit that the
scope index matched, and reads the live state softly:

    f(x, i) = W_out SiLU(s W_in x / |x| + g_i),   g_i = U a_i

with a_i the hidden state at the last token of edit i's own prompt and s `live_scale`. U and a_i are only ever used as their
product, so the shard stores g_i (m numbers per edit) in place of both. The output starts at zero, so that the FFN is not
doubled at step 0. A batch is forced through its own expert while it is trained; older experts are frozen and untouched.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from editors.base.base import Base
from editors.methods.calibration import scopes
from editors.methods.chat_answers import ChatAnswer, chat_answers
from editors.methods.training import Lesson, Progress, check_requests, form_of_step, lay_out, size_of
from editors.methods.training_rows import Delta, DeltaOf, TaughtRows
from editors.routing.parent import ParentModel
from editors.store.header import ShardHeader
from editors.store.shards import STORED_DTYPE, Shard
from edits.requests import EditRequest

# Where there are two forms to learn: a few more steps, at a lower rate (docs/experiments.md).
CHAT_STEPS, CHAT_RATE = 1.1, 2 / 3


class LemoeSettings(BaseModel):
    """How LEMoE trains; sizes are relative to the base's own activations, so one default serves all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(64, ge=1, le=16384, description="width m of each expert")
    learning_rate: float = Field(0.03, gt=0, lt=1, description="AdamW step at the beginning")
    last_rate: float = Field(
        0.1, gt=0, le=1, description="the rate falls to this share of itself by the last step"
    )
    weight_decay: float = Field(0.0, ge=0, lt=1)
    max_steps: int = Field(45, ge=1, le=2000)
    stop_loss: float = Field(0.05, gt=0, description="training stops when every row is under this loss")
    live_scale: float = Field(
        0.4, ge=0, le=1, description="how much of the live hidden state the expert reads"
    )
    openings: int = Field(0, ge=0, le=4, description="training rows per fact behind unrelated text")
    rephrases: int = Field(1, ge=0, le=32, description="the request's own rephrases to train on")
    chat_rows: int = Field(
        1, ge=1, le=8, description="training rows per fact through the base's chat template, if it has one"
    )
    chat_share: float = Field(
        0.6, gt=0, lt=1, description="share of the training steps that learn rows in chat, if there are any"
    )
    chat_answer: ChatAnswer = Field(
        "value", description="what is taught in chat: the bare value, or the base's own sentence with it"
    )
    seed: int = 0
    max_answer_tokens: int = Field(
        16, ge=1, le=256, description="how much of the base's answer the scope index keeps"
    )
    target_false_fire: float = Field(
        0.01, ge=0, le=0.5, description="share of prompts out of scope that may fire; sets the thresholds"
    )


@dataclass(frozen=True, slots=True)
class _Expert:
    w_in: Tensor  # (m, d)
    w_out: Tensor  # (d, m)
    gate: Tensor  # (n, m)


class LemoeEditor:
    """Trains one expert for the whole batch; see the module for how."""

    name = "lemoe"

    def __init__(self, settings: LemoeSettings) -> None:
        self.settings = settings

    def apply(
        self,
        requests: Sequence[EditRequest],
        *,
        base: Base,
        parent: ParentModel | None = None,
        progress: Progress | None = None,
    ) -> Shard:
        """Train the batch's expert and return it as a shard; the base is left as it was.

        Raises:
            BadRequest: a request that cannot be learned as it stands.
            DeviceBusy: out of device memory.
        """
        check_requests(requests)
        s = self.settings
        lesson = lay_out(
            base,
            requests,
            openings=s.openings,
            rephrases=s.rephrases,
            seed=s.seed,
            chat_answers=chat_answers(base, requests, style=s.chat_answer),
            chat_rows=s.chat_rows,
        )
        expert = self._train(base, lesson, progress)
        scope = scopes(
            base,
            requests,
            parent=parent,
            max_answer_tokens=s.max_answer_tokens,
            target_false_fire=s.target_false_fire,
            seed=s.seed,
        )
        header = ShardHeader(
            editor=self.name,
            base_hash=base.hash,
            layer=base.layer,
            settings=s.model_dump(),
            calibration=scope.calibration,
            encoder_hash=scope.encoder_hash,
            entries=scope.entries,
            questions=scope.questions,
        )
        tensors = {
            **scope.tensors,
            "lemoe.w_in": expert.w_in.to(STORED_DTYPE),
            "lemoe.w_out": expert.w_out.to(STORED_DTYPE),
            "lemoe.gate": expert.gate.to(STORED_DTYPE),
        }
        return Shard(header, tensors)

    def _train(self, base: Base, lesson: Lesson, progress: Progress | None) -> _Expert:
        s, d = self.settings, base.hidden_size
        forms = [TaughtRows(base, base.ffn, rows) for rows in lesson.forms]
        plain, worst = forms[0], [math.inf] * len(forms)
        in_size, out_size = size_of(plain.reads_last), size_of(plain.entering_last)
        anchors = _anchors(plain.reads_last[: lesson.edits])
        generator = torch.Generator().manual_seed(s.seed)
        w_in = (torch.randn(s.width, d, generator=generator) / math.sqrt(d)).to(base.device).requires_grad_()
        u = (torch.randn(s.width, d, generator=generator) / math.sqrt(d)).to(base.device).requires_grad_()
        w_out = torch.zeros(d, s.width, device=base.device).requires_grad_()
        steps, rate = (
            (s.max_steps, s.learning_rate)
            if len(forms) == 1
            else (round(s.max_steps * CHAT_STEPS), s.learning_rate * CHAT_RATE)
        )
        optimizer = torch.optim.AdamW([w_in, u, w_out], lr=rate, weight_decay=s.weight_decay)
        falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, s.last_rate, total_iters=steps)
        for step in range(steps):
            expert = _Expert(w_in * (s.live_scale / in_size), w_out * out_size, anchors @ u.T)
            form = form_of_step(step, len(forms), s.chat_share)
            losses = forms[form].losses(_deltas(expert))
            worst[form] = float(losses.detach().max())
            if progress is not None:
                progress("train", step, steps)
            if max(worst) < s.stop_loss:
                break
            optimizer.zero_grad()
            losses.mean().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            falling.step()
        return _Expert(
            (w_in * (s.live_scale / in_size)).detach().cpu(),
            (w_out * out_size).detach().cpu(),
            (anchors @ u.T).detach().cpu(),
        )


def _deltas(expert: _Expert) -> DeltaOf:
    def delta_of(owner: Tensor) -> Delta:
        gate = expert.gate[owner][:, None]
        # One expert for all rows: plain products.
        return lambda x: torch.nn.functional.silu(x.float() @ expert.w_in.T + gate) @ expert.w_out.T

    return delta_of


def _anchors(reads: Tensor) -> Tensor:
    """(n, d): what is read at each own prompt's last token (n, d), centred over the batch and scaled to unit size."""
    anchors = reads - reads.mean(0) if len(reads) > 1 else reads
    return anchors / anchors.pow(2).mean().sqrt().clamp(min=1e-6)
