"""What can be served: behind vLLM an edit's expert must be a LoRA adapter, which SCEN's are and LEMoE's are not.

LEMoE's lane is planned as ever there, clusters, batches and their order; its batches are trained as SCEN experts.
"""

from dataclasses import replace

import structlog

from daemon.settings.http_tables import ServingEngine
from planners import PlanDraft
from planners.values import DraftBatch

_TRAINED_AS = {"lemoe": "scen"}  # behind vLLM

_log = structlog.get_logger(__name__)


def servable_editor(editor: str | None, engine: ServingEngine) -> str | None:
    """The editor that trains what was planned for `editor`."""
    return editor if editor is None or engine == "embedded" else _TRAINED_AS.get(editor, editor)


def servable_draft(draft: PlanDraft, engine: ServingEngine) -> PlanDraft:
    """The same batches in the same order, by editors whose experts the engine can serve."""
    return replace(draft, batches=tuple(_servable_batch(batch, engine) for batch in draft.batches))


def log_engine(engine: ServingEngine) -> None:
    """Say at start what becomes of LEMoE's batches, where that is not what their name says."""
    if engine == "vllm":
        _log.info(
            "edits are served by vLLM",
            consequence="LEMoE's batches are planned as ever and trained as SCEN experts: vLLM serves LoRA adapters "
            "alone; workers give LEMoE edits that are live already LoRA forms, and those that have none are the base's",
        )


def _servable_batch(batch: DraftBatch, engine: ServingEngine) -> DraftBatch:
    editor = servable_editor(batch.editor, engine)
    if editor == batch.editor:
        return batch
    return replace(
        batch, editor=editor, reason=f"{batch.reason}; planned for {batch.editor}, served by {engine}"
    )
