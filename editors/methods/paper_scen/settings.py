"""Settings of SCEN as published."""

from typing import Literal

from pydantic import Field

from editors.methods.common.settings import MethodSettings


class PaperScenSettings(MethodSettings):
    """The paper's numbers but for its two rates.

    Adam moves each weight by its rate, and a projection sums over its width: 11,008 in the paper's Llama-2-7B. On the base
    of width 528 that Upkeep is measured on, 1e-4 teaches nothing (reliability .00, neurons' scores .60); 2e-3 is the
    same change of the output per step, and 4e-4 serves the neurons best. For a base of the paper's size set both to 1e-4.
    """

    mode: Literal["paper"] = "paper"
    learning_rate: float = Field(2e-3, gt=0, lt=1, description="Adam step of stage 1; the paper: 1e-4")
    steps: int = Field(10, ge=1, le=1000, description="Adam steps of stage 1 per fact")
    neuron_learning_rate: float = Field(4e-4, gt=0, lt=1, description="Adam step of stage 2; the paper: 1e-4")
    neuron_steps: int = Field(20, ge=1, le=1000, description="Adam steps of stage 2 per fact")
    theta: float = Field(0.65, ge=0, le=1, description="a neuron's score must be over this to fire")
    cached_activations: bool = Field(
        False,
        description="read history's activations once, not in every step: the same neurons, without the passes",
    )
    seed: int = Field(0, description="changes nothing: copies and neurons start from no random numbers")
