"""The model of a process that answers or edits: the base, and the generation of the ledger that it follows."""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import structlog

from daemon.ledger import Ledger
from daemon.settings.settings import Settings
from daemon.settings.tables import ModelSettings
from editors.base.base import Base, load_base
from editors.index import QuestionMatcher, load_matcher
from editors.inference.continuous import MAX_ROWS, ContinuousBatch
from editors.inference.edited_model import Answer, EditedModel
from editors.inference.likelihood import TextChange, next_token_kls, text_changes
from editors.routing.scope_router import Route
from editors.routing.trace import RouteTrace
from editors.store.adapter_store import AdapterStore
from edits.prompts import Prompt

RETRY_SHARDS_SECONDS = 60.0  # damaged shards are looked at again: somebody may have restored them

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class HeadChange:
    """What turns the live edits of one generation into another's."""

    before: int
    after: int
    enabled: Mapping[str, str]  # edit id -> shard digest
    disabled: Collection[str]


class ServedModel:
    """A base with the live edits of one published generation.

    Not safe to share between threads: one thread owns it. `news` alone may be asked by another.
    """

    def __init__(
        self,
        edited: EditedModel,
        ledger: Ledger,
        *,
        max_rows: int = MAX_ROWS,
        retry_shards_seconds: float = RETRY_SHARDS_SECONDS,
    ) -> None:
        """
        Args:
            max_rows: how many answers `batch` generates together.
            retry_shards_seconds: how often damaged shards are looked at again.
        """
        self.edited = edited
        self._ledger = ledger
        self._generation = 0
        self._max_rows = max_rows
        self._retry_shards_seconds = retry_shards_seconds
        self._looked_at = 0.0

    @property
    def generation(self) -> int:
        """The generation that answers now."""
        return self._generation

    @property
    def unserved(self) -> frozenset[str]:
        """The published edits that cannot answer, as their shard is damaged."""
        return self.edited.unserved

    @property
    def base_hash(self) -> str:
        return self.edited.base.hash

    @property
    def asks_chat(self) -> bool:
        """Whether the base is asked through a chat template, as its users do."""
        return self.edited.base.chat

    @cached_property
    def batch(self) -> ContinuousBatch:
        """The answers that are generated together for many clients; each keeps the generation that it began with."""
        return ContinuousBatch(self.edited, max_rows=self._max_rows)

    def refresh(self) -> bool:
        """Take over what was published since; True if there was anything.

        Raises:
            ShardCorrupt: a published shard was made for another model; the generation held so far goes on answering.
            LedgerUnavailable: the ledger is away for now.
        """
        change = self.news()
        if change is not None:
            self.take_over(change)
        return change is not None

    def news(self) -> HeadChange | None:
        """What was published since, read from the ledger; None: nothing.

        Raises:
            LedgerUnavailable: the ledger is away for now.
        """
        tip = self._ledger.generations.tip()
        if tip is not None and tip[0] != self._generation:
            return self._change_to(tip[0])
        if self.edited.unserved and time.monotonic() - self._looked_at > self._retry_shards_seconds:
            return HeadChange(self._generation, self._generation, {}, ())
        return None

    def take_over(self, change: HeadChange) -> None:
        """Answer as another generation from now on; a change from another one than this is no use, and is let go.

        Raises:
            ShardCorrupt: a shard was made for another model than this; nothing changed.
        """
        if change.before == change.after:
            self._looked_at = time.monotonic()
            if back := self.edited.serve_again():
                _log.info("edits answer again: their shards are whole", edits=back)
        elif change.before == self._generation:
            self.edited.apply_generation(enabled=change.enabled, disabled=change.disabled)
            self._generation = change.after

    @contextmanager
    def at(self, generation: int) -> Iterator[None]:
        """While the block runs, the model answers as that generation did.

        Raises:
            NotInLedger: it was never published.
        """
        before = self._generation
        if generation == before:
            yield
            return
        self._ledger.generations.get(generation)
        self.take_over(self._change_to(generation))
        try:
            yield
        finally:
            self.take_over(self._change_to(before))

    @contextmanager
    def without(self, edit_ids: Collection[str]) -> Iterator[None]:
        """While the block runs, the model lacks these edits."""
        with self.edited.candidate((), without=edit_ids):
            yield

    def fits(self, prompt: Prompt) -> bool:
        """Whether the base can read the prompt and still has room for an answer."""
        return self.edited.base.fits(prompt)

    def named(self, text: str) -> set[str]:
        """The live edits whose subject the text names."""
        return self.edited.named(text)

    def explain(self, prompt: Prompt) -> RouteTrace:
        """Why an edit fires on a prompt, or none does."""
        return self.edited.explain(prompt)

    def generate(self, prompts: Sequence[Prompt], *, max_new_tokens: int) -> list[Answer]:
        """Greedy answers with the live edits, in the order of `prompts`."""
        return self.edited.generate(prompts, max_new_tokens=max_new_tokens)

    def generate_base(self, prompts: Sequence[Prompt], *, max_new_tokens: int) -> list[Answer]:
        """The frozen base's output, whatever was edited."""
        outputs = self.edited.base.generate_outputs(prompts, max_new_tokens=max_new_tokens)
        return [Answer.of(prompt, output) for prompt, output in zip(prompts, outputs, strict=True)]

    def divergences(self, prompts: Sequence[str]) -> list[float]:
        """KL(base || edited) in nats of each prompt's next token; exactly 0 where no edit fires."""
        return next_token_kls(self.edited, prompts)

    def text_changes(self, texts: Sequence[str]) -> list[TextChange]:
        """How much less likely the live edits make each text."""
        return text_changes(self.edited, texts)

    def own_expert(self, edit_id: str, fired: str | None) -> bool | None:
        """Whether the edit that fired has the expert of `edit_id`; None unless that is one of LEMoE's, which are shared."""
        own = self.edited.expert(Route(edit_id, 0.0))
        if own is None or own.shard.header.editor != "lemoe":
            return None
        other = self.edited.expert(Route(fired, 0.0))
        return other is not None and other.shard is own.shard

    def _change_to(self, generation: int) -> HeadChange:
        # Only what the generations between the two changed: what that costs does not grow with what is live.
        before = self._generation
        enabled, disabled = self._ledger.generations.changes_between(before, generation)
        return HeadChange(before, generation, enabled, disabled)


def open_base(model: ModelSettings) -> Base:
    """The base that the settings name.

    Raises:
        BaseUnreadable, UnknownArchitecture: the base cannot be used; the message names the setting.
        DeviceBusy: the device has no room for it at this moment.
    """
    return load_base(
        model.required_path(),
        device=model.device,
        dtype=model.dtype,
        ffn_module=model.ffn_module,
        layer=model.layer,
        chat=model.chat,
    )


def open_matcher(settings: Settings) -> QuestionMatcher | None:
    """What reads prompts for the scope index; None where the settings name no encoder.

    Raises:
        EncoderUnreadable: the encoder cannot be loaded; the message says what to install or set.
    """
    if not settings.index.encoder:
        _log.warning(
            "no_sentence_encoder",
            consequence='index.encoder = "": the base\'s own answers decide whether an edit fires, which few real '
            "models give reliably",
        )
        return None
    return load_matcher(settings.index.encoder, heads=settings.store.path / "heads")


def open_store(settings: Settings) -> AdapterStore:
    """The adapter store that the settings name."""
    return AdapterStore(settings.store.path, folder_mode=int(settings.store.folder_mode, 8))


def open_model(
    settings: Settings, ledger: Ledger, *, retry_shards_seconds: float = RETRY_SHARDS_SECONDS
) -> ServedModel:
    """Load the base of the settings and bring it to the ledger's head.

    Raises:
        BaseUnreadable, UnknownArchitecture: the base cannot be used; the message names the setting.
        EncoderUnreadable: the scope index's encoder cannot be loaded.
        BaseChanged: the ledger belongs to another base.
    """
    matcher = open_matcher(settings)
    base = open_base(settings.model)
    ledger.generations.start(base.hash, earlier=base.known_as.earlier)
    edited = EditedModel(
        base,
        open_store(settings),
        matcher=matcher,
        device_expert_bytes=settings.model.bank_bytes,
    )
    served = ServedModel(
        edited, ledger, max_rows=settings.serve.max_rows, retry_shards_seconds=retry_shards_seconds
    )
    served.refresh()
    return served
