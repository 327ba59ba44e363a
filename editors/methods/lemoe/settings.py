"""LEMoE's settings."""

from pydantic import Field

from editors.methods.common.settings import Openings, Rephrases, ScopedSettings


class LemoeSettings(ScopedSettings):
    """How LEMoE trains; sizes are relative to the base's own activations, so one default serves all."""

    width: int = Field(64, ge=1, le=16384, description="width m of each expert")
    learning_rate: float = Field(0.02, gt=0, lt=1, description="AdamW step at the beginning")
    last_rate: float = Field(
        0.1, gt=0, le=1, description="the rate falls to this share of itself by the end of a round"
    )
    weight_decay: float = Field(0.0, ge=0, lt=1)
    max_steps: int = Field(50, ge=1, le=2000, description="steps of the first round")
    max_rounds: int = Field(
        8, ge=1, le=50, description="rounds, each from `learning_rate` on, while a row is not learned"
    )
    stop_loss: float = Field(0.05, gt=0, description="training stops when every row is under this loss")
    live_scale: float = Field(
        0.4, ge=0, le=1, description="how much of the live hidden state the expert reads"
    )
    openings: Openings = 0
    rephrases: Rephrases = 1
    chat_share: float = Field(
        0.6, gt=0, lt=1, description="share of the training steps that learn rows in chat, if there are any"
    )
