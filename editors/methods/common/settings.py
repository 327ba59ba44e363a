"""Settings that methods share; unknown keys are refused, and each method has its own defaults."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from editors.methods.common.chat_answers import ChatAnswer


class MethodSettings(BaseModel):
    """The settings of one method in one mode."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Openings = Annotated[
    int, Field(ge=0, le=4, description="training rows per fact: its prompt behind other text")
]
Rephrases = Annotated[int, Field(ge=0, le=32, description="the request's own rephrases to train on")]


class ScopedSettings(MethodSettings):
    """Of methods that learn in plain text and in chat, and whose edits the scope index routes."""

    openings: Openings
    rephrases: Rephrases
    chat_rows: int = Field(
        1, ge=1, le=8, description="training rows per fact through the base's chat template, if it has one"
    )
    chat_answer: ChatAnswer = Field(
        "value", description="the target in chat: the bare value, or the base's own sentence with it"
    )
    seed: int = 0
    max_answer_tokens: int = Field(
        16, ge=1, le=256, description="how much of the base's answer the scope index keeps"
    )
    target_false_fire: float = Field(
        0.01,
        ge=0,
        le=0.5,
        description="share of prompts out of scope that may fire; sets the thresholds. By the text: of the head's bank "
        "beyond the edit's own relation, within measured bounds (editors/index/matcher.py)",
    )
