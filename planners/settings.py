"""How edits become batches: the planner's settings, which the daemon's table [planner] extends."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Clustering = Literal["kmeans", "bisecting", "agglomerative"]
Order = Literal["arrival", "nearest", "random", "farthest", "size"]
BatchEditor = Literal["auto", "lemoe", "scen"]


class PlannerSettings(BaseModel):
    """How edits become batches; pydantic's ValidationError names what is unknown or out of range."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(0, ge=0, lt=2**32, description="the same seed and edits give the same plan")
    batch_size: int = Field(50, ge=1, le=10_000, description="most edits in one batch")
    clustering: Clustering = Field("kmeans", description='"kmeans", "bisecting" or "agglomerative"')
    order: Order = Field(
        "arrival", description='order among batches: "arrival", "nearest", "random", "farthest" or "size"'
    )
    batch_editor: BatchEditor = Field(
        "auto", description='editor of the batch lane; "auto": lemoe for dense clusters, scen for the rest'
    )
    urgent_editor: Literal["lemoe", "scen"] = Field("scen", description="editor of the urgent lane")
    # 10 was measured: see docs/planning.md.
    min_lemoe_cluster: int = Field(10, ge=1, description='the smallest cluster that "auto" gives to lemoe')
