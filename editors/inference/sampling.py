"""Choosing the next token of each row of a batch: greedily, or by temperature and nucleus from the row's own seed."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from editors.inference.requests import SamplingParams


@dataclass(frozen=True, slots=True)
class TokenChoice:
    """The chosen token, its log-probability as the model has it, and the likeliest in its place with theirs."""

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


def choose_tokens(
    logits: Tensor, params: Sequence[SamplingParams], randomness: Sequence[random.Random]
) -> list[TokenChoice]:
    """One token for each row of logits (B, V).

    Log-probabilities are the model's own, before temperature and nucleus.
    """
    logits = logits.float()
    chosen = logits.argmax(-1)
    sampled = [row for row, one in enumerate(params) if one.temperature > 0]
    if sampled:
        where = torch.tensor(sampled, device=logits.device)
        chosen[where] = _sample(
            logits[where], [params[row] for row in sampled], [randomness[row].random() for row in sampled]
        )
    tokens: list[int] = chosen.tolist()
    choices = [TokenChoice(token) for token in tokens]
    for row, one in enumerate(params):
        if one.logprobs is not None:
            (choices[row],) = score_tokens(logits[row : row + 1], [tokens[row]], count=one.logprobs)
    return choices


def score_tokens(logits: Tensor, tokens: Sequence[int], *, count: int) -> list[TokenChoice]:
    """Log-probabilities of given tokens, and the `count` likeliest, at each row of logits (N, V)."""
    logp = logits.float().log_softmax(-1)
    own = logp.gather(1, torch.tensor(tokens, device=logp.device)[:, None])[:, 0].tolist()
    values, ids = logp.topk(min(count, logp.shape[-1]), dim=-1)
    return [
        TokenChoice(token, score, tuple(zip(top_ids, top_values, strict=True)))
        for token, score, top_ids, top_values in zip(tokens, own, ids.tolist(), values.tolist(), strict=True)
    ]


def _sample(logits: Tensor, params: Sequence[SamplingParams], drawn: Sequence[float]) -> Tensor:
    """The token at which the sorted, truncated and summed probabilities pass the drawn number: (S, V) -> (S,)."""
    device = logits.device
    temperature = torch.tensor([one.temperature for one in params], device=device)
    top_p = torch.tensor([one.top_p for one in params], device=device)
    # Scaled from the greatest down: a tiny temperature must not overflow.
    scaled = (logits - logits.amax(-1, keepdim=True)) / temperature[:, None]
    probs, order = scaled.softmax(-1).sort(dim=-1, descending=True, stable=True)
    before = probs.cumsum(-1) - probs
    # The likeliest token always stays, whatever rounding says.
    kept = probs * ((before < top_p[:, None]) | (torch.arange(probs.shape[-1], device=device) == 0))
    summed = kept.cumsum(-1)
    target = torch.tensor(drawn, device=device)[:, None] * summed[:, -1:]
    place = (summed <= target).sum(-1)
    last = (kept > 0).sum(-1) - 1
    return order.gather(1, torch.minimum(place, last)[:, None])[:, 0]
