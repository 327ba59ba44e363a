"""Upkeep's planner: turn pending edits into an ordered plan of batches: values in, values out, no Kafka, SQL or torch."""

from planners.embedding import Embedder, ModelEmbedder, TfidfEmbedder
from planners.planning import plan
from planners.plot import ShownChange, ShownConflict, render_plot
from planners.settings import PlannerSettings
from planners.values import DraftBatch, Pending, PlanDraft, ProjectionPoint

__all__ = [
    "DraftBatch",
    "Embedder",
    "ModelEmbedder",
    "Pending",
    "PlanDraft",
    "PlannerSettings",
    "ProjectionPoint",
    "ShownChange",
    "ShownConflict",
    "TfidfEmbedder",
    "plan",
    "render_plot",
]
