"""What every editor is: edit requests in, one shard out; the base is never changed."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from editors.base.base import Base
from editors.base.passes import prove_replayable
from editors.methods.common.settings import MethodSettings
from editors.routing.parent import ParentModel
from editors.store.header import ShardHeader
from editors.store.shards import Shard
from edits.errors import BadRequest
from edits.requests import EditRequest

# Called with (stage, done, total) while an editor works.
ProgressCallback = Callable[[str, int, int], None]

Settings = TypeVar("Settings", bound=MethodSettings, covariant=True)


@dataclass(frozen=True, slots=True)
class EditTask:
    """One batch of requests, the base that they are for, the model that they will join, and who follows the progress."""

    requests: Sequence[EditRequest]
    base: Base
    parent: ParentModel | None = None
    progress: ProgressCallback | None = None

    def report(self, done: int, total: int) -> None:
        """Say how far the training is."""
        if self.progress is not None:
            self.progress("train", done, total)


class Editor(ABC, Generic[Settings]):
    """One method with its settings.

    Attributes:
        name: what the ledger and the shards call it; its modes share one.
    """

    name: ClassVar[str]

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @property
    def settings(self) -> Settings:
        """The settings that it works with, defaults included."""
        return self._settings

    def apply(
        self,
        requests: Sequence[EditRequest],
        *,
        base: Base,
        parent: ParentModel | None = None,
        progress: ProgressCallback | None = None,
    ) -> Shard:
        """Train experts for `requests` and return them as one shard; the base is left as it was.

        Args:
            parent: the model that the edits will join; the papers' routers learn to tell its live edits from the new ones.

        Raises:
            BadRequest: a request that cannot be learned as it stands.
            DeviceBusy: out of device memory.
            UnknownArchitecture: this base's layers or FFN do not work as experts need it.
        """
        check_requests(requests)
        prove_replayable(base)
        return self._train(EditTask(requests, base, parent, progress))

    @abstractmethod
    def _train(self, task: EditTask) -> Shard:
        """Train experts for requests that were checked."""

    def _header(self, base: Base, **of_index: Any) -> ShardHeader:
        """A header of this editor's shards; `of_index` are its fields that say how the edits fire."""
        return ShardHeader(
            editor=self.name,
            base_hash=base.hash,
            layer=base.layer,
            settings=self.settings.model_dump(),
            **of_index,
        )


def check_requests(requests: Sequence[EditRequest]) -> None:
    """Refuse what no editor can learn.

    Raises:
        BadRequest: no request, an edit id twice, an empty prompt or target.
    """
    if not requests:
        raise BadRequest("an editor needs at least one edit request")
    if len({request.edit_id for request in requests}) != len(requests):
        raise BadRequest("two edit requests of one batch have the same edit_id")
    for request in requests:
        if not request.prompt.strip() or not request.target_new.strip():
            raise BadRequest(f"edit {request.edit_id} has an empty prompt or target_new")
