"""Editors that learn in plain text and in chat, and whose edits the scope index routes."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from torch import Tensor

from editors.base.base import Base
from editors.methods.common.calibration import calibrate
from editors.methods.common.chat_answers import chat_answers
from editors.methods.common.editor import Editor, EditTask
from editors.methods.common.settings import ScopedSettings
from editors.methods.common.training_batch import TrainingBatch, make_training_batch
from editors.store.shards import STORED_DTYPE, Shard
from edits.requests import EditRequest

_Settings = TypeVar("_Settings", bound=ScopedSettings, covariant=True)


class ScopedEditor(Editor[_Settings]):
    """Adds the training batch in both forms and the shard with its calibrated scope index."""

    def _training_batch(
        self, base: Base, requests: Sequence[EditRequest], *, other_questions: int = 0
    ) -> TrainingBatch:
        s = self.settings
        return make_training_batch(
            base,
            requests,
            openings=s.openings,
            other_questions=other_questions,
            rephrases=s.rephrases,
            seed=s.seed,
            chat_answers=chat_answers(base, requests, style=s.chat_answer),
            chat_rows=s.chat_rows,
        )

    def _scoped_shard(self, task: EditTask, weights: Mapping[str, Tensor]) -> Shard:
        """The shard of trained weights, with all that the scope index keeps of the batch."""
        s = self.settings
        scope = calibrate(
            task.base,
            task.requests,
            parent=task.parent,
            max_answer_tokens=s.max_answer_tokens,
            target_false_fire=s.target_false_fire,
            seed=s.seed,
        )
        header = self._header(
            task.base,
            entries=scope.entries,
            questions=scope.questions,
            calibration=scope.calibration,
            encoder_hash=scope.encoder_hash,
        )
        return Shard(header, {**scope.tensors, **stored(weights)})


def stored(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights on the CPU in the type that shards keep them in."""
    return {name: weight.detach().cpu().to(STORED_DTYPE) for name, weight in weights.items()}
