"""Settings of LEMoE as published."""

from typing import Literal

from pydantic import Field

from editors.methods.common.settings import MethodSettings


class PaperLemoeSettings(MethodSettings):
    """The paper's numbers where it gives them, and one switch for each trap; see `editor`."""

    mode: Literal["paper"] = "paper"
    learning_rate: float = Field(2e-4, gt=0, lt=1, description="AdamW step of the expert")
    route_learning_rate: float = Field(2e-4, gt=0, lt=1, description="AdamW step of key and projection")
    weight_decay: float = Field(0.01, ge=0, lt=1)
    steps: int = Field(100, ge=1, le=2000, description="AdamW steps per batch")
    projection_width: int = Field(64, ge=1, le=4096, description="width of W_down's output")
    key_width: int = Field(64, ge=1, le=4096, description="width of keys and of v")
    seed: int = 0
    replay: bool = Field(
        False, description="keep e of all edits and train the route as a classification on them and the batch"
    )
    own_projection: bool = Field(False, description="a projection for each expert, frozen with it")
    force_own_expert: bool = Field(
        False, description="the batch goes through its own expert with g = 1; the route is a classification"
    )
    deferral: bool = Field(False, description="what meets no key better than unrelated text goes to the base")
    pool_prompt_only: bool = Field(False, description="e of training rows without their targets")
    zero_output: bool = Field(False, description="the copy's last projection starts at zero")
    ignore_padding: bool = Field(False, description="e without padding")
    false_fire: float = Field(
        0.01, ge=0, le=1, description="share of unrelated text that deferral lets through"
    )
