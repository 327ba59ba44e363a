"""The edits of a LEMoE expert as LoRA adapters, one for each: for servers that load LoRA adapters alone.

The expert of a batch adds f(x, i) = W_out SiLU(W_in x + g_i) beside the FFN. That is no LoRA, which is linear and reads
what the projection that it changes reads: of the FFN's last one, h. But where edit i is asked f hardly moves, and h says
enough to tell it: B_i A_i h is fitted to f(x, i) by ridge regression over the tokens of the edit's own prompt (bare, behind
other text, in chat) with its answer, and cut to rank r by the singular values of what it puts out. One adapter for the
whole batch does not do: it cannot know which edit is asked (docs/experiments.md).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from editors.base.base import Base
from editors.base.devices import device_errors
from editors.base.passes import capture, training_rows
from editors.methods.common.training_batch import OPENINGS
from editors.methods.common.training_rows import Row
from editors.store.lora_forms import A, B, LoraForm
from editors.store.shards import STORED_DTYPE, Shard
from edits.prompts import Prompt, asked_in_chat

RANK = 8  # the least --max-lora-rank of vLLM
RIDGE = 1e-4  # of the median squared length of h
LoraPair = tuple[Tensor, Tensor]  # A (r, f), B (d, r)
Expert = tuple[Tensor, Tensor, Tensor]  # W_in (m, d), W_out (d, m), g_i (m)


def fit_lora_form(
    base: Base, shard: Shard, facts: Mapping[str, tuple[str, str]], *, rank: int = RANK
) -> LoraForm:
    """An adapter for each edit of a LEMoE shard that `facts` (edit id -> prompt, answer) knows.

    Raises:
        DeviceBusy: out of device memory.
    """
    edit_ids = [edit_id for edit_id in shard.edit_ids if edit_id in facts]
    w_in, w_out = (shard.tensors[name].float() for name in ("lemoe.w_in", "lemoe.w_out"))
    pairs = []
    for edit_id in edit_ids:
        gate = shard.tensors["lemoe.gate"][shard.edit_ids.index(edit_id)].float()
        h, y = read_and_added(base, *facts[edit_id], expert=(w_in, w_out, gate))
        pairs.append(truncate_by_outputs(ridge_map(h, y, ridge=RIDGE), h, rank))
    a = torch.stack([a for a, _ in pairs]) if pairs else torch.zeros(0, rank, base.ffn_width)
    b = torch.stack([b for _, b in pairs]) if pairs else torch.zeros(0, base.hidden_size, rank)
    return LoraForm(edit_ids, {A: a.to(STORED_DTYPE), B: b.to(STORED_DTYPE)})


def read_and_added(base: Base, prompt: str, answer: str, *, expert: Expert) -> tuple[Tensor, Tensor]:
    """What the last projection reads, h (T, f), and what the expert adds there, y (T, d): in float32 on the CPU.

    T are the tokens of the prompt in all its forms, with its answer but for the last.
    """
    laid = training_rows(base, _rows(base, prompt, answer))
    with (
        device_errors(),
        torch.no_grad(),
        capture(base.ffn, "input") as into,
        capture(base.down_proj, "input") as read,
    ):
        base.model.base_model(input_ids=laid.ids, attention_mask=laid.mask, use_cache=False)
    real = laid.mask.bool()
    x, h = into[0][real].float().cpu(), read[0][real].float().cpu()
    w_in, w_out, gate = expert
    added: Tensor = torch.nn.functional.silu(x @ w_in.T + gate) @ w_out.T
    return h, added


def ridge_map(h: Tensor, y: Tensor, *, ridge: float) -> Tensor:
    """(d, f): the least-squares map from h to y, by way of the tokens, of which there are fewer than numbers in h."""
    penalty = ridge * h.pow(2).sum(1).median()
    weights: Tensor = torch.linalg.solve(h @ h.T + penalty * torch.eye(len(h)), y)
    return (h.T @ weights).T


def truncate_by_outputs(weight: Tensor, h: Tensor, rank: int) -> LoraPair:
    """A map (d, f) at rank r: the r directions in which what it makes of h is largest."""
    _, _, v = torch.linalg.svd(h @ weight.T, full_matrices=False)
    kept = v[:rank]
    short = rank - len(kept)  # fewer tokens than ranks: the rest is zero
    pad = torch.nn.functional.pad
    return pad(kept @ weight, (0, 0, 0, short)), pad(kept.T, (0, short))


def _rows(base: Base, prompt: str, answer: str) -> list[Row]:
    behind = [f"{opening} {prompt}" for opening in OPENINGS]
    prompts: list[Prompt] = [prompt, *(text for text in behind if base.can_answer(text, answer))]
    if base.chat:
        asked = base.conversation(prompt) or asked_in_chat(prompt)
        prompts += [asked] if base.can_answer(asked, answer) else []
    rows = []
    for one in prompts:
        ids = base.prompt_ids(one)
        rows.append((0, ids, base.answer_ids(one, answer, prompt_ids=ids)))
    return rows
