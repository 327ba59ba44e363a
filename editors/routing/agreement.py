"""The scope index: which edit, if any, does a prompt ask about?

Two questions, two signals. *Who is it about?* The surface form of an edited subject must stand in the text; nothing else can
ever fire. *What is asked of it?* Prompts that ask one fact get one answer from the frozen base, so the base's own answer to
the live prompt is compared with its answer to the edit's prompt; as far as the base did not know the fact (its confidence is
low), the hidden state at the last prompt token is compared instead:

    s(p) = c [greedy base answer to p = that to the edit's prompt] + (1 - c) cos'(h(p), h(edit's prompt))

with c the base's confidence in its answer and cos' the cosine rescaled by `COSINE_FLOOR`. An edit fires when s reaches its
threshold, which `editors.methods.common.calibration` finds. A name that is only approximately there (`names.near`) fires on
full agreement alone.

Where the text is read too, how surely the base answers p as it does the edit's prompt is evidence beside it (`Evidence`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from editors.base.base import Base, length_sorted_chunks
from editors.base.passes import Replay, answer_logits, at_last, capture, training_rows
from editors.store.header import Agreement

# Cosine of hidden states between unrelated prompts; above it the rescaled cosine begins.
COSINE_FLOOR = 0.5
# From this confidence on, the base's answer alone tells what was asked.
SURE = 0.5
# The part of the score that decides only between edits of one subject that would all fire.
TIE_BREAK = 1e-3
# What the base's log odds of its answer are worth beside the text's, and where they end: an answer of other words may be
# the same ("the yen"), so that against an edit they count for less.
EVIDENCE_WEIGHT = 3.0
MIN_LOG_ODDS, MAX_LOG_ODDS = -1.0, 5.0


@dataclass(frozen=True, slots=True)
class ScopeKey:
    """What the index keeps of one edit: the base's answer to its prompt, how sure it was, its hidden state (d,).

    `key` is None where the text tells what the hidden state would.
    """

    base_answer_ids: tuple[int, ...]
    confidence: float
    key: Tensor | None

    @property
    def is_sure(self) -> bool:
        """Whether the base's answer alone tells what was asked."""
        return self.confidence >= SURE

    @property
    def least_agreeing(self) -> float:
        """The least threshold that no prompt reaches to which the base answers otherwise (its own words alone, at 1)."""
        return min(1.0, 1.0 - self.confidence + 2 * TIE_BREAK)


@dataclass(frozen=True, slots=True)
class Reading:
    """One (prompt, edit) pair as the index read it.

    Attributes:
        agrees: the base's greedy answer to the prompt is that to the edit's.
        cosine: of the hidden states.
        probability: that the base gives the prompt the edit's answer.
    """

    agrees: bool
    cosine: float
    probability: float

    @property
    def is_sure(self) -> bool:
        """Whether the base gives that answer rather than any other."""
        return self.probability >= SURE

    def score(self, confidence: float) -> float:
        """How far a prompt asks the edit's question: the base's agreement weighted by its confidence, else likeness."""
        similar = max(0.0, (self.cosine - COSINE_FLOOR) / (1.0 - COSINE_FLOOR))
        return confidence * float(self.agrees) + (1.0 - confidence) * similar + TIE_BREAK * self.cosine


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the base's answers say of one edit, in log odds to add to the text's.

        w c specificity min(log odds of q, `MAX_LOG_ODDS`)      where the base gives the edit's answer (q > 1/2),
        w c sensitivity max(log odds of q, `MIN_LOG_ODDS`)     where it does not,

    with q the probability of that answer to the prompt, c the base's confidence in it, w `EVIDENCE_WEIGHT`. One answer to
    two prompts tells as much as other questions had other answers on this base (`Agreement.specificity`), two answers as
    much as one question had one (`Agreement.sensitivity`).

    Attributes:
        most, least: what it can say for and against the edit.
    """

    most: float
    least: float

    @classmethod
    def of(cls, agreement: Agreement, confidence: float) -> "Evidence":
        """For an edit of which the base was so sure."""
        weight = EVIDENCE_WEIGHT * confidence
        return cls(
            weight * agreement.specificity * MAX_LOG_ODDS, weight * agreement.sensitivity * MIN_LOG_ODDS
        )

    def can_change(self, odds: float) -> bool:
        """Whether a prompt of these log odds by its text may fire with it and not without, or the other way round."""
        return -self.most <= odds < 0 or 0 <= odds < -self.least

    def log_odds(self, reading: Reading) -> float:
        """What a reading adds."""
        if math.isnan(reading.probability):  # of a base that overflowed
            return 0.0
        q = min(max(reading.probability, 1e-9), 1 - 1e-9)
        odds = math.log(q / (1 - q))
        part = min(odds / MAX_LOG_ODDS, 1.0) if odds > 0 else min(odds / MIN_LOG_ODDS, 1.0)
        return part * (self.most if odds > 0 else self.least)


NO_EVIDENCE = Evidence(0.0, 0.0)


def is_duplicate_question(one: ScopeKey, other: ScopeKey) -> bool:
    """Whether two edits of one subject ask one question: the base, which is sure of both, answers both the same way."""
    if one.base_answer_ids != other.base_answer_ids or not (one.is_sure and other.is_sure):
        return False
    if one.key is None or other.key is None:
        return False
    cosine = functional.cosine_similarity(one.key.float(), other.key.float(), dim=0)
    return float(cosine) > COSINE_FLOOR


def cosines(last: Tensor, keys: Sequence[ScopeKey]) -> list[float]:
    """How like the hidden states of prompts (n, d) are to those of edits; 0 where an edit keeps none."""
    found = [0.0] * len(keys)
    kept = [n for n, key in enumerate(keys) if key.key is not None]
    if kept:
        stored = torch.stack([key.key for key in keys if key.key is not None]).float()
        likeness = functional.cosine_similarity(last[kept], stored, dim=-1).tolist()
        for n, cosine in zip(kept, likeness, strict=True):
            found[n] = cosine
    return found


def make_keys(
    base: Base, prompts: Sequence[str], *, max_answer_tokens: int, batch_size: int = 64
) -> list[ScopeKey]:
    """Ask the frozen base each edit's prompt once and keep its answer, its confidence and its hidden state."""
    rows = [base.prompt_ids(prompt) for prompt in prompts]
    keys: list[ScopeKey | None] = [None] * len(rows)
    for chunk in length_sorted_chunks(rows, batch_size):
        with capture(base.layers[base.layer], "input") as entering:
            # With the token that stopped it: a base may end its answers with a newline.
            answers = base.generate_scored([rows[i] for i in chunk], max_new_tokens=max_answer_tokens)
        # The first call reads the prompts, padded on the left; clone: what inference mode made stays in it.
        last = entering[0][:, -1].float().cpu().clone()
        for n, i in enumerate(chunk):
            ids, logp = answers[n]
            # That it says nothing at all, a base has in common with every question that it does not answer.
            sure = min(1.0, math.exp(logp)) if base.decode(base.plain_ending.before_stop(ids)) else 0.0
            keys[i] = ScopeKey(tuple(ids), sure, last[n])
    return [key for key in keys if key is not None]


def read_pairs(base: Base, pairs: Sequence[tuple[str, ScopeKey]], *, batch_size: int = 64) -> list[Reading]:
    """Read (prompt, edit) pairs with the frozen base: one teacher-forced pass a pair tells both signals."""
    rows = []
    for prompt, key in pairs:
        ids = base.prompt_ids(prompt)
        rows.append((0, ids, list(key.base_answer_ids)[: base.context - len(ids)]))
    readings: list[Reading | None] = [None] * len(rows)
    for chunk in length_sorted_chunks([prompt + answer for _, prompt, answer in rows], batch_size):
        batch = training_rows(base, [rows[i] for i in chunk])
        replay = Replay(base, batch.ids, batch.mask)
        with torch.no_grad():
            logits = answer_logits(base, replay.final, batch.positions)
        agrees = ((logits.argmax(-1) == batch.targets) | (batch.targets < 0)).all(1).tolist()
        # (B, A) losses of the answer's tokens, 0 where there is none
        losses = functional.cross_entropy(logits.mT, batch.targets, reduction="none", ignore_index=-100)
        sure = losses.sum(1).neg().exp().tolist()
        last = at_last(replay.entering, batch.prompt_last).cpu()
        cosine = cosines(last, [pairs[i][1] for i in chunk])
        for n, i in enumerate(chunk):
            readings[i] = Reading(bool(agrees[n]), float(cosine[n]), float(sure[n]))
    return [reading for reading in readings if reading is not None]
