"""Turn pending edits into an ordered plan of batches: values in, values out, no Kafka, no SQL, no torch."""

from planners.embedding import BaseEmbedder, Embedder, TfidfEmbedder
from planners.planning import plan
from planners.values import DraftBatch, Pending, PlanDraft, PlannerSettings

__all__ = [
    "BaseEmbedder",
    "DraftBatch",
    "Embedder",
    "Pending",
    "PlanDraft",
    "PlannerSettings",
    "TfidfEmbedder",
    "plan",
]
