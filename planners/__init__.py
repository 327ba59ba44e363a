"""Upkeep's planner: turn pending edits into an ordered plan of batches: values in, values out, no Kafka, SQL or torch."""

from planners.embedding import Embedder, ModelEmbedder, TfidfEmbedder
from planners.planning import plan
from planners.plot import picture
from planners.values import DraftBatch, MapPoint, Pending, PlanDraft, PlannerSettings

__all__ = [
    "DraftBatch",
    "Embedder",
    "MapPoint",
    "ModelEmbedder",
    "Pending",
    "PlanDraft",
    "PlannerSettings",
    "TfidfEmbedder",
    "picture",
    "plan",
]
