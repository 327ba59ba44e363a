"""What edits do to the base's probabilities: the next token after a prompt, and the tokens of a running text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from editors.adapters.apply import apply_adapters, groups_that_fit
from editors.adapters.bank import ExpertRow
from editors.base.base import length_sorted_chunks
from editors.base.devices import device_errors
from editors.base.passes import capture
from editors.inference.edited_model import EditedModel
from edits.prompts import Prompt

# Positions whose logits are held at once: a vocabulary is wide, a text may be long.
POSITIONS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class TextChange:
    """How much less likely (in nats, summed over its tokens) a text became; exactly 0 where no edit fires."""

    nats: float
    tokens: int


def next_token_kls(model: EditedModel, prompts: Sequence[Prompt], *, batch_size: int = 64) -> list[float]:
    """KL(base || edited) in nats of the next-token distribution, for each prompt; exactly 0 where no edit fires."""
    rows = [model.base.prompt_ids(prompt) for prompt in prompts]
    found = [0.0] * len(rows)
    for group, experts in _fired(model, prompts, rows, batch_size):
        chosen = [rows[i] for i in group]
        base, edited = (_next_logp(model, chosen, applied) for applied in ([None] * len(group), experts))
        kls = (base.exp() * (base - edited)).sum(-1).clamp(min=0.0)
        for index, kl in zip(group, kls.tolist(), strict=True):
            found[index] = kl
    return found


def text_changes(model: EditedModel, texts: Sequence[Prompt], *, batch_size: int = 16) -> list[TextChange]:
    """What the edits do to texts, each read as one prompt that no edit should fire on.

    exp(sum of nats / sum of tokens) over texts is the perplexity of the edited model over that of the base.
    """
    rows = [model.base.prompt_ids(text) for text in texts]
    found = [TextChange(0.0, max(0, len(row) - 1)) for row in rows]
    for group, experts in _fired(model, texts, rows, batch_size):
        chosen = [rows[i] for i in group]
        base, edited = (_text_nats(model, chosen, applied) for applied in ([None] * len(group), experts))
        for index, before, after in zip(group, base, edited, strict=True):
            found[index] = TextChange(after - before, found[index].tokens)
    return found


def _fired(
    model: EditedModel, prompts: Sequence[Prompt], rows: Sequence[Sequence[int]], batch_size: int
) -> Iterator[tuple[list[int], list[ExpertRow | None]]]:
    """Places of the prompts on which an edit fires, in groups whose experts fit on the device, with the experts."""
    routes = model.route(prompts)
    fired = [i for i, route in enumerate(routes) if route.edit_id is not None]
    for chunk in length_sorted_chunks([rows[i] for i in fired], batch_size):
        places = [fired[n] for n in chunk]
        experts = [model.expert(routes[i]) for i in places]
        for group in groups_that_fit(model.bank, experts):
            yield [places[n] for n in group], [experts[n] for n in group]


def _next_logp(
    model: EditedModel, rows: Sequence[Sequence[int]], experts: Sequence[ExpertRow | None]
) -> Tensor:
    """Log probabilities (B, V) of the token after each row."""
    hidden = _final_hidden(model, rows, experts)
    last = torch.tensor([len(row) - 1 for row in rows], device=hidden.device)
    picked = hidden[torch.arange(len(rows), device=hidden.device), last]
    with torch.no_grad():
        return model.base.lm_head(picked).float().log_softmax(-1)  # type: ignore[no-any-return]


def _text_nats(
    model: EditedModel, rows: Sequence[Sequence[int]], experts: Sequence[ExpertRow | None]
) -> list[float]:
    """Minus the log likelihood of each row's tokens from the second on."""
    hidden = _final_hidden(model, rows, experts)
    totals = []
    for index, row in enumerate(rows):
        targets = torch.tensor(list(row[1:]), device=hidden.device)
        total = 0.0
        for start in range(0, len(targets), POSITIONS_AT_ONCE):
            part = targets[start : start + POSITIONS_AT_ONCE]
            with torch.no_grad():
                logits = model.base.lm_head(hidden[index, start : start + len(part)]).float()
            total += float(torch.nn.functional.cross_entropy(logits, part, reduction="sum"))
        totals.append(total)
    return totals


def _final_hidden(
    model: EditedModel, rows: Sequence[Sequence[int]], experts: Sequence[ExpertRow | None]
) -> Tensor:
    """Hidden states (B, T, d) after the final norm."""
    base = model.base
    ids, mask = base.pad(rows, side="right")
    with (
        device_errors(),
        torch.no_grad(),
        apply_adapters(base, experts, bank=model.bank),
        capture(base.final_norm, "output") as seen,
    ):
        base.model(input_ids=ids, attention_mask=mask, use_cache=False)
    return seen[0]  # type: ignore[no-any-return]
