"""SCEN's indexing neurons: one vector w per fact over the input of `down_proj`, read at the last prompt token.

After arXiv 2404.02699, stage 2 and inference. A neuron's score of a prompt is

    s(h) = sigmoid(w . h)

with h (f,) what enters `down_proj` of the edited layer at the last prompt token. Neurons are trained in the order of
arrival, each on its own fact and on all earlier ones; the neuron with the highest score fires, if that is over theta.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from editors.adapters.bank import ExpertRow
from editors.base.architectures import submodule
from editors.base.base import Base, length_sorted_chunks
from editors.base.devices import device_errors
from editors.base.passes import at_last, capture
from editors.routing.parent import ParentModel
from editors.routing.scope_router import UNROUTED, Route
from editors.routing.unrelated import UNRELATED
from editors.store.header import ShardEntry
from edits.prompts import Prompt
from edits.requests import EditRequest

NEGATIVE_MARGIN, PAIR_MARGIN = 0.7, 0.3


def scores(w: Tensor, h: Tensor) -> Tensor:
    """s(h) = sigmoid(w . h): neurons w (n, f), activations h (m, f) -> (m, n)."""
    return torch.sigmoid(h @ w.T)


def index_loss(s_pos: Tensor, s_neg: Tensor) -> Tensor:
    """The paper's three losses of a neuron, summed: its own fact's score (...) and other facts' (..., m) -> (...).

    exp(-s_pos) + mean(exp(s_neg) + 0.7) + mean(exp(s_neg) - s_pos + 0.3); the first alone where there is no other fact.
    """
    activation = torch.exp(-s_pos)
    if not s_neg.shape[-1]:
        return activation
    negative = (torch.exp(s_neg) + NEGATIVE_MARGIN).mean(-1)
    pair = (torch.exp(s_neg) - s_pos[..., None] + PAIR_MARGIN).mean(-1)
    return activation + negative + pair


def train_neuron(read: Callable[[], tuple[Tensor, Tensor]], *, width: int, rate: float, steps: int) -> Tensor:
    """One neuron (f,): Adam from zero, where every prompt scores 0.5 and so lies under theta.

    Args:
        read: gives what the neuron reads, asked anew in every step: its own fact (f,) and all earlier facts (m, f).
    """
    own, _ = read()
    w = torch.zeros(width, device=own.device, requires_grad=True)
    adam = torch.optim.Adam([w], lr=rate)
    for _ in range(steps):
        positive, negatives = read()
        loss = index_loss(torch.sigmoid(positive @ w), torch.sigmoid(negatives @ w))
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
    return w.detach()


def train_together(own: Tensor, others: Tensor, *, rate: float, steps: int) -> Tensor:
    """Not the paper's way: the neurons of a batch side by side on activations that were read once.

    Each sees all other facts of the batch, own (n, f), and `others` (m, f): earlier facts and unrelated text -> (n, f).
    """
    count = len(own)
    not_itself = ~torch.eye(count, count + len(others), dtype=torch.bool, device=own.device)
    w = torch.zeros_like(own, requires_grad=True)
    adam = torch.optim.Adam([w], lr=rate)
    for _ in range(steps):
        s = scores(w, torch.cat([own, others])).T  # (n, n + m)
        loss = index_loss(s.diagonal(), s[not_itself].view(count, -1)).sum()
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
    return w.detach()


def activations(
    base: Base, rows: Sequence[Sequence[int]], *, layer: int | None = None, batch_size: int = 64
) -> Tensor:
    """h (n, f) in float32: what enters `down_proj` of a layer (unset: the edited one) at the last token of each row.

    One pass of the whole model, as the paper has it.
    """
    place = submodule(base.layers[base.layer if layer is None else layer], base.layout.down_proj)
    read: list[Tensor] = [torch.empty(0)] * len(rows)
    for chunk in length_sorted_chunks(rows, batch_size):
        ids, mask = base.pad([rows[i] for i in chunk], side="right")
        with device_errors(), torch.no_grad(), capture(place, "input") as seen:
            base.model(input_ids=ids, attention_mask=mask, use_cache=False)
        last = at_last(seen[0], mask.sum(1) - 1)
        for n, index in enumerate(chunk):
            read[index] = last[n]
    return torch.stack(read)


@dataclass(frozen=True, slots=True)
class IndexedFact:
    """What neurons need of a fact: its prompt's token ids and, read once, what enters `down_proj` at their last (f,)."""

    prompt_ids: list[int]
    h: Tensor


def facts_of(base: Base, requests: Sequence[EditRequest]) -> list[IndexedFact]:
    """The facts of a batch, each read once."""
    rows = [base.prompt_ids(request.prompt) for request in requests]
    return [IndexedFact(ids, h) for ids, h in zip(rows, activations(base, rows), strict=True)]


def earlier_facts(base: Base, parent: ParentModel | None) -> list[IndexedFact]:
    """The live facts that neurons of this layer know, in the order of arrival."""
    experts: Iterable[ExpertRow] = parent.experts("neuron").values() if parent is not None else ()
    facts = []
    for expert in experts:
        if expert.shard.header.layer == base.layer:
            ids, h = (expert.shard.tensors[name][expert.row] for name in ("neuron.prompt_ids", "neuron.h"))
            facts.append(IndexedFact([i for i in ids.tolist() if i >= 0], h.to(base.device)))
    return facts


def neuron_tensors(neurons: Sequence[Tensor], facts: Sequence[IndexedFact]) -> dict[str, Tensor]:
    """What a shard keeps of its neurons, in float32: later neurons are trained on the same numbers."""
    ids = [torch.tensor(fact.prompt_ids, dtype=torch.int32) for fact in facts]
    return {
        "neuron.w": torch.stack(list(neurons)).cpu(),
        "neuron.h": torch.stack([fact.h for fact in facts]).cpu(),
        "neuron.prompt_ids": torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=-1),
    }


def neuron_entries(requests: Sequence[EditRequest], theta: float) -> tuple[ShardEntry, ...]:
    """A shard's entries where a neuron over theta decides, and nothing else."""
    return tuple(
        ShardEntry(edit_id=request.edit_id, surface_forms=request.surface_forms, threshold=theta)
        for request in requests
    )


def index_together(
    base: Base, requests: Sequence[EditRequest], parent: ParentModel | None, *, rate: float, steps: int
) -> dict[str, Tensor]:
    """The neurons of a batch beside those live in `parent`, as a shard keeps them: no pass over history."""
    facts = facts_of(base, requests)
    unrelated = activations(base, [base.prompt_ids(text) for text in UNRELATED])
    others = [fact.h for fact in earlier_facts(base, parent)]
    own = torch.stack([fact.h for fact in facts])
    neurons = train_together(own, torch.stack([*others, *unrelated]), rate=rate, steps=steps)
    return neuron_tensors(list(neurons), facts)


class NeuronRouter:
    """The paper's inference: argmax over all neurons at the last prompt token, above theta."""

    def __init__(self, base: Base) -> None:
        self._base = base
        self._experts: dict[str, ExpertRow] = {}
        self._stacks: dict[int, tuple[list[str], Tensor, Tensor]] | None = None

    def add(self, edit_id: str, expert: ExpertRow) -> None:
        self._experts[edit_id] = expert
        self._stacks = None

    def remove(self, edit_id: str) -> None:
        del self._experts[edit_id]
        self._stacks = None

    def __len__(self) -> int:
        return len(self._experts)

    def route(self, prompts: Sequence[Prompt]) -> list[Route]:
        routes = [UNROUTED] * len(prompts)
        rows = [self._base.prompt_ids(prompt) for prompt in prompts]
        for layer, (edit_ids, w, theta) in self._stacked().items():
            best = scores(w, activations(self._base, rows, layer=layer)).max(dim=1)
            for i, (score, winner) in enumerate(
                zip(best.values.tolist(), best.indices.tolist(), strict=True)
            ):
                if score > theta[winner] and score > routes[i].score:
                    routes[i] = Route(edit_ids[winner], score)
        return routes

    def _stacked(self) -> dict[int, tuple[list[str], Tensor, Tensor]]:
        """By layer: the edits, their neurons (n, f) and thetas (n,)."""
        if self._stacks is None:
            by_layer: dict[int, list[str]] = {}
            for edit_id, expert in self._experts.items():
                by_layer.setdefault(expert.shard.header.layer, []).append(edit_id)
            self._stacks = {layer: self._stack(edit_ids) for layer, edit_ids in by_layer.items()}
        return self._stacks

    def _stack(self, edit_ids: list[str]) -> tuple[list[str], Tensor, Tensor]:
        experts = [self._experts[edit_id] for edit_id in edit_ids]
        w = torch.stack([e.shard.tensors["neuron.w"][e.row] for e in experts]).to(self._base.device)
        theta = torch.tensor([e.shard.header.entries[e.row].threshold for e in experts])
        return edit_ids, w, theta
