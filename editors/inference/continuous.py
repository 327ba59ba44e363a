"""Continuous batching: answers of many clients are generated together, a token a step; rows join and leave between steps.

Each row keeps the expert that its route led to when it began. What is switched on or off meanwhile concerns the rows that
begin later: an answer is of one generation from its first token to its last.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

import torch

from editors.adapters.apply import apply_adapters, groups_that_fit
from editors.adapters.bank import ExpertRow
from editors.base.base import Base
from editors.base.devices import device_errors
from editors.base.endings import AnswerProgress, Ending
from editors.inference.answer_text import AnswerText
from editors.inference.edited_model import EditedModel
from editors.inference.kv_cache import KVCache
from editors.inference.requests import FinishReason, ScoredToken, SequenceRequest, SequenceResult, TextDelta
from editors.inference.sampling import TokenChoice, choose_tokens, score_tokens
from editors.routing.scope_router import UNROUTED, Route
from edits.errors import BadRequest
from edits.prompts import Prompt

MAX_ROWS = 64  # generated together
# Read in one step by rows that join, padding included: those that run wait so long for their next token.
MAX_PREFILL_TOKENS = 4_096
# Positions whose logits are held at once: a vocabulary is wide, a prompt may be long.
POSITIONS_AT_ONCE = 256


class GeneratedSequence:
    """One answer while it is generated; finished as soon as `finish_reason` is set.

    Attributes:
        route: which edit fired.
        output: generated tokens, without the one that stopped them.
        scored: the same with their log-probabilities, where they were asked for.
        scored_prompt: the prompt's tokens with theirs, where they were asked for.
        new_tokens: how many were generated, with the one that ended the answer.
        finish_reason: "stop": the model or a stop text ended it; "length": the limit of tokens did.
    """

    def __init__(self, request: SequenceRequest, base: Base) -> None:
        """
        Raises:
            BadRequest: the prompt cannot be read, or leaves no room for an answer.
        """
        self.request = request
        self.prompt_ids, self.asked, self.ending = _read(request, base)
        self.limit = min(request.params.max_new_tokens, base.context - len(self.prompt_ids))
        self.route: Route = UNROUTED
        self.expert: ExpertRow | None = None
        self.output: list[int] = []
        self.scored: list[ScoredToken] = []
        self.scored_prompt: list[ScoredToken] = []
        self.new_tokens = 0
        self.finish_reason: FinishReason | None = None
        self.randomness = request.params.randomness()
        self._base = base
        self._progress = AnswerProgress(self.ending)
        self._text = AnswerText(base.tokenizer, self.prompt_ids, request.params.stop)
        self._sent_chars = self._sent_scored = 0
        self._to_echo = request.echo

    @property
    def edit_id(self) -> str | None:
        """The edit that fired."""
        return self.route.edit_id

    @property
    def prompt_tokens(self) -> int:
        """How many tokens the model reads."""
        return len(self.prompt_ids)

    @property
    def result(self) -> SequenceResult:
        """The finished answer."""
        request = self.request
        if self.finish_reason is None:
            raise ValueError("the answer is not finished")
        return SequenceResult(
            text=self._base.decode(self.output, ending=self.ending)
            if request.stripped
            else self._text.whole(),
            edit_id=self.route.edit_id,
            score=self.route.score,
            finish_reason=self.finish_reason,
            prompt_tokens=len(self.prompt_ids),
            new_tokens=self.new_tokens,
            scored=tuple(self.scored),
            scored_prompt=tuple(self.scored_prompt),
            prompt_text=self._prompt_text,
        )

    def delta(self) -> TextDelta | None:
        """What came since the last delta; None: nothing that can be sent yet."""
        text = self._text.settled if self.finish_reason is None else self._text.whole()
        more, scored = text[self._sent_chars :], tuple(self.scored[self._sent_scored :])
        if not more and self.finish_reason is None:
            return None
        self._sent_chars, self._sent_scored = len(text), len(self.scored)
        if self._to_echo:
            self._to_echo = False
            more, scored = self._prompt_text + more, (*self.scored_prompt, *scored)
        return TextDelta(more, scored, self.finish_reason, self.new_tokens)

    @property
    def _prompt_text(self) -> str:
        asked = self.request.prompt
        return asked if isinstance(asked, str) else _decode(self._base, self.prompt_ids)

    def advance(self, choice: TokenChoice) -> None:
        """One more token, which may end it."""
        self.new_tokens += 1
        verdict = self._progress.push(choice.token)
        if verdict == "ends before it":
            self.finish_reason = "stop"
            return
        self.output.append(choice.token)
        if choice.logprob is not None:
            self.scored.append(_scored(self._base, choice))
        self._text.push(choice.token)
        if self._text.stopped or verdict == "ends with it":
            self.finish_reason = "stop"
        elif len(self.output) >= self.limit:
            self.finish_reason = "length"


class ContinuousBatch:
    """The rows of an edited model that are generated together.

    Not safe to share between threads: the thread that owns the model owns it.
    """

    def __init__(
        self, edited: EditedModel, *, max_rows: int = MAX_ROWS, max_prefill_tokens: int = MAX_PREFILL_TOKENS
    ) -> None:
        self._edited = edited
        self._max_rows = max_rows
        self._max_prefill_tokens = max_prefill_tokens
        self._waiting: deque[GeneratedSequence] = deque()
        self._running: list[GeneratedSequence] = []
        self._cache = KVCache(edited.base)

    @property
    def rows(self) -> int:
        """Rows that are generated or wait for it."""
        return len(self._running) + len(self._waiting)

    @property
    def has_room(self) -> bool:
        """Whether a further row would be read at the next step."""
        return not self._waiting and len(self._running) < self._max_rows

    def prepare(self, requests: Sequence[SequenceRequest]) -> list[GeneratedSequence]:
        """Requests as sequences that can be started.

        Raises:
            BadRequest: a prompt cannot be read, or leaves no room for an answer.
        """
        return [GeneratedSequence(request, self._edited.base) for request in requests]

    def start(self, sequences: Sequence[GeneratedSequence]) -> None:
        """Decide their routes, all by the edits that are live now, and let them wait for the next step.

        Raises:
            BadRequest: an expert does not fit on the device at all; then none of them is started.
        """
        edited = [sequence for sequence in sequences if not sequence.request.base]
        routes = self._edited.route([sequence.asked for sequence in edited]) if edited else []
        for sequence, route in zip(edited, routes, strict=True):
            sequence.route, sequence.expert = route, self._edited.expert(route)
            groups_that_fit(self._edited.bank, [sequence.expert])
        self._waiting.extend(sequences)

    def step(self) -> list[GeneratedSequence]:
        """One more token for every row, the first for those that join; all that advanced, the finished among them.

        Raises:
            DeviceBusy: out of device memory; what state the rows are in nobody knows: `clear` them.
        """
        joining = self._admitted()
        if joining:
            self._prefill(joining)
        advanced = {id(sequence): sequence for sequence in (*joining, *self._running)}
        if self._running:
            self._decode()
        return list(advanced.values())

    def remove(self, sequences: Sequence[GeneratedSequence]) -> None:
        """Let rows go that nobody waits for any more; what is not there is passed over."""
        gone = {id(sequence) for sequence in sequences}
        self._waiting = deque(one for one in self._waiting if id(one) not in gone)
        self._keep([row for row, one in enumerate(self._running) if id(one) not in gone])

    def clear(self) -> None:
        """Let all rows go."""
        self._waiting.clear()
        self._running = []
        self._cache = KVCache(self._edited.base)

    def _admitted(self) -> list[GeneratedSequence]:
        """Take from those that wait, in order, as many as there is room for."""
        joining: list[GeneratedSequence] = []
        columns = 0
        while self._waiting and len(self._running) + len(joining) < self._max_rows:
            candidate = self._waiting[0]
            columns = max(columns, len(candidate.prompt_ids))
            if joining and columns * (len(joining) + 1) > self._max_prefill_tokens:
                break
            if candidate.expert is not None and not self._fits([*joining, candidate]):
                break
            joining.append(self._waiting.popleft())
        return joining

    def _fits(self, joining: Sequence[GeneratedSequence]) -> bool:
        """Whether all experts fit on the device at once."""
        experts = [sequence.expert for sequence in (*self._running, *joining)]
        used = [expert for expert in experts if expert is not None]
        return len(groups_that_fit(self._edited.bank, used)) <= 1

    def _prefill(self, joining: Sequence[GeneratedSequence]) -> None:
        for sequence in joining:
            if sequence.request.params.prompt_logprobs:
                self._score_prompt(sequence)
            if sequence.limit <= 0:
                sequence.finish_reason = "length"
        rows = [sequence for sequence in joining if sequence.finish_reason is None]
        if not rows:
            return
        cache = KVCache(self._edited.base)
        ids, mask = self._edited.base.pad([sequence.prompt_ids for sequence in rows], side="left")
        self._advance(rows, cache, ids, mask)
        going_on = [row for row, sequence in enumerate(rows) if sequence.finish_reason is None]
        with device_errors(), torch.inference_mode():
            if len(going_on) < len(rows):
                cache.keep(going_on)
            if going_on:
                self._cache.join(cache)
        self._running += [rows[row] for row in going_on]

    def _decode(self) -> None:
        last = [[sequence.output[-1]] for sequence in self._running]
        ids = torch.tensor(last, device=self._edited.base.device)
        self._advance(self._running, self._cache, ids, torch.ones_like(ids))
        self._keep([row for row, sequence in enumerate(self._running) if sequence.finish_reason is None])

    def _advance(
        self, rows: Sequence[GeneratedSequence], cache: KVCache, ids: torch.Tensor, mask: torch.Tensor
    ) -> None:
        """Read ids (B, T) into the rows' cache, each through its own expert, and give each row its next token."""
        experts = [sequence.expert for sequence in rows]
        with (
            apply_adapters(self._edited.base, experts, bank=self._edited.bank),
            device_errors(),
            torch.inference_mode(),
        ):
            logits = cache.read(ids, mask)
            choices = choose_tokens(
                logits,
                [sequence.request.params for sequence in rows],
                [sequence.randomness for sequence in rows],
            )
        for sequence, choice in zip(rows, choices, strict=True):
            sequence.advance(choice)

    def _keep(self, rows: Sequence[int]) -> None:
        if len(rows) < len(self._running):
            with device_errors(), torch.inference_mode():
                self._cache.keep(rows)
            self._running = [self._running[row] for row in rows]

    def _score_prompt(self, sequence: GeneratedSequence) -> None:
        """Log-probabilities of a prompt's own tokens, which costs it a pass of its own."""
        base, ids = self._edited.base, sequence.prompt_ids
        count = sequence.request.params.logprobs or 0
        row, mask = base.pad([ids], side="left")
        choices = [TokenChoice(ids[0])]
        with (
            apply_adapters(base, [sequence.expert], bank=self._edited.bank),
            device_errors(),
            torch.inference_mode(),
        ):
            logits = base.model(input_ids=row, attention_mask=mask, use_cache=False).logits[0]
            for start in range(1, len(ids), POSITIONS_AT_ONCE):
                targets = ids[start : start + POSITIONS_AT_ONCE]
                choices += score_tokens(logits[start - 1 : start - 1 + len(targets)], targets, count=count)
        sequence.scored_prompt = [_scored(base, choice) for choice in choices]


def _read(request: SequenceRequest, base: Base) -> tuple[list[int], Prompt, Ending]:
    """A request's token ids, the prompt that the routers read, and what ends its answer."""
    asked, ids = request.prompt, None
    if isinstance(asked, tuple):
        ids = list(asked)
        _check_token_ids(ids, base)
        asked = _prompt_of(ids, base)
    read = base.prompt_ids(asked) if ids is None else ids
    if not read:
        raise BadRequest(
            "an empty prompt is nothing that this base can continue: its tokenizer puts no token in front"
        )
    plain = base.conversation(asked) is None
    if plain and not request.stripped:
        return read, asked, Ending(base.eos_ids, one_line=False)
    return read, asked, base.ending(asked)


def _check_token_ids(ids: Sequence[int], base: Base) -> None:
    if not ids:
        raise BadRequest("a prompt of token ids needs at least one")
    if min(ids) < 0 or max(ids) >= base.vocabulary:
        raise BadRequest(f"token ids go from 0 to {base.vocabulary - 1} here")
    if len(ids) > base.max_prompt_tokens:
        raise BadRequest(
            f"the prompt has {len(ids)} tokens, the base reads at most {base.max_prompt_tokens}: shorten it"
        )


def _prompt_of(ids: Sequence[int], base: Base) -> str:
    """The text that token ids stand for: with its marks where it is a conversation that the client rendered."""
    rendered: str = base.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    return rendered if base.conversation(rendered) is not None else _decode(base, ids)


def _decode(base: Base, ids: Sequence[int]) -> str:
    text: str = base.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


def _scored(base: Base, choice: TokenChoice) -> ScoredToken:
    top = tuple((_token_text(base.tokenizer, token), logprob) for token, logprob in choice.top)
    return ScoredToken(_token_text(base.tokenizer, choice.token), choice.logprob, top)


def _token_text(tokenizer: Any, token: int) -> str:
    text: str = tokenizer.decode([token], clean_up_tokenization_spaces=False)
    return text
