"""The model of a process that answers or edits: the base, and the generation of the ledger that it follows."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from daemon.ledger import Ledger
from daemon.settings import ModelSettings, Settings
from editors.base import Base, load_base
from editors.model import Answer, EditedModel
from editors.store import AdapterStore


class ServedModel:
    """A base with the live edits of one published generation.

    Not safe to share between threads: one thread owns it.
    """

    def __init__(self, edited: EditedModel, ledger: Ledger) -> None:
        self.edited = edited
        self._ledger = ledger
        self._generation = 0

    @property
    def generation(self) -> int:
        """The generation that answers now."""
        return self._generation

    @property
    def base_hash(self) -> str:
        return self.edited.base.hash

    def refresh(self) -> bool:
        """Take over what was published since; True if there was anything.

        Raises:
            ShardCorrupt: a published shard is missing or damaged; the generation held so far goes on answering.
            LedgerUnavailable: the ledger is away for now.
        """
        head = self._ledger.generations.head()
        if head is None or head.number == self._generation:
            return False
        self._become(head.number)
        return True

    @contextmanager
    def at(self, generation: int) -> Iterator[None]:
        """While the block runs, the model answers as that generation did.

        Raises:
            NotInLedger: it was never published.
        """
        self._ledger.generations.get(generation)
        before = self._generation
        self._become(generation)
        try:
            yield
        finally:
            self._become(before)

    def fits(self, prompt: str) -> bool:
        """Whether the base can read the prompt and still has room for an answer."""
        return self.edited.base.fits(prompt)

    def generate(self, prompts: Sequence[str], *, max_new_tokens: int) -> list[Answer]:
        """Greedy answers with the live edits, in the order of `prompts`."""
        return self.edited.generate(prompts, max_new_tokens=max_new_tokens)

    def generate_base(self, prompts: Sequence[str], *, max_new_tokens: int) -> list[Answer]:
        """What the frozen base says, whatever was edited."""
        texts = self.edited.base.generate(prompts, max_new_tokens=max_new_tokens)
        return [Answer(prompt, text, None, 0.0) for prompt, text in zip(prompts, texts, strict=True)]

    def _become(self, generation: int) -> None:
        # What appended generations changed, where we only move on; the whole live set, where we go back.
        if generation > self._generation:
            steps = [g for g in self._ledger.generations.since(self._generation) if g.number <= generation]
            enabled: dict[str, str] = {}
            disabled: set[str] = set()
            for step in steps:
                for edit_id in step.disabled:
                    enabled.pop(edit_id, None)
                    disabled.add(edit_id)
                enabled.update(step.enabled)
                disabled -= step.enabled.keys()
        else:
            enabled = dict(self._ledger.generations.live_at(generation))
            disabled = set(self.edited.live - enabled.keys())
        self.edited.apply_generation(enabled=enabled, disabled=disabled)
        self._generation = generation


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
    )


def open_model(settings: Settings, ledger: Ledger) -> ServedModel:
    """Load the base of the settings and bring it to the ledger's head.

    Raises:
        BaseUnreadable, UnknownArchitecture: the base cannot be used; the message names the setting.
        BaseChanged: the ledger belongs to another base.
    """
    base = open_base(settings.model)
    ledger.generations.start(base.hash)
    served = ServedModel(EditedModel(base, AdapterStore(settings.store.path)), ledger)
    served.refresh()
    return served
