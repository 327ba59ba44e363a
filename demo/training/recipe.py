"""The recipe of the tiny base: its size and how it is trained."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides how the base comes out."""

    seed: int = 0
    steps: int = 1800
    batch: int = 32
    window: int = 96
    learning_rate: float = 3e-3
    weight_decay: float = 0.1
    warmup_steps: int = 100
    vocabulary: int = 3072
    hidden: int = 160
    layers: int = 6
    heads: int = 4
    feed_forward: int = 448
    threads: int = 2
