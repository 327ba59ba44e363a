"""SCEN's settings."""

from typing import Literal

from pydantic import Field

from editors.methods.common.settings import Openings, Rephrases, ScopedSettings


class ScenSettings(ScopedSettings):
    """How SCEN trains; learning rate and stop are relative to the base's own activations, so one default serves all."""

    rank: int = Field(4, ge=1, le=256, description="rank of each expert")
    learning_rate: float = Field(
        0.03,
        gt=0,
        lt=1,
        description="Adam step, in units of the residual stream's size; A's is less the wider the FFN is",
    )
    read_scale: float = Field(
        0.3,
        gt=0,
        le=10,
        description="size of what A reads; small, so that A turns to the fact instead of staying random",
    )
    max_steps: int = Field(240, ge=1, le=1000)
    min_steps: int = Field(9, ge=1, le=1000, description="steps before a fact may leave the batch")
    stop_loss: float = Field(
        0.02, gt=0, description="a fact leaves the batch when all its rows are under this loss"
    )
    other_questions: int = Field(
        2, ge=0, le=4, description="training rows per fact that ask something else of its subject"
    )
    openings: Openings = 2
    rephrases: Rephrases = 2
    batch_size: int = Field(64, ge=1, le=4096, description="facts trained side by side")
    routing: Literal["scope", "neuron"] = Field(
        "scope", description="what decides that an edit fires: the scope index, or the paper's neurons"
    )
    neuron_learning_rate: float = Field(4e-4, gt=0, lt=1, description="Adam step of the neurons")
    neuron_steps: int = Field(20, ge=1, le=1000)
    theta: float = Field(0.65, ge=0, le=1, description="a neuron's score must be over this to fire")

    @property
    def second_attempt(self) -> dict[str, int | float]:
        """What changes for facts whose expert failed verification: more steps, to a smaller loss, from another start."""
        steps = min(1000, 2 * self.max_steps)
        return {
            "max_steps": steps,
            "min_steps": min(steps, 3 * self.min_steps),
            "stop_loss": self.stop_loss / 10,
            "seed": self.seed + 1,
        }
