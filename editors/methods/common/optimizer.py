"""Adam over stacked experts, where a row that has converged stands still.

torch.optim.Adam keeps moving a parameter by its momentum when its gradient is zero, and knows no rows; here row i of every
parameter belongs to fact i, and the update of each is Adam's (Kingma & Ba 2015, algorithm 1), elementwise.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


class RowAdam:
    """Holds parameters (n, ...) in float32 and moves the rows it is told to."""

    def __init__(self, parameters: Sequence[Tensor], *, learning_rates: Sequence[float]) -> None:
        """
        Args:
            learning_rates: of each parameter.
        """
        self.parameters = [p.detach().float().clone() for p in parameters]
        self._first = [torch.zeros_like(p) for p in self.parameters]
        self._second = [torch.zeros_like(p) for p in self.parameters]
        self._learning_rates = learning_rates
        self._steps = 0

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], *, moving: Tensor) -> None:
        """One Adam step for the rows where `moving` (n,) is true; the others keep their values."""
        self._steps += 1
        scale1, scale2 = 1 - BETA1**self._steps, 1 - BETA2**self._steps
        for i, gradient in enumerate(gradients):
            self._first[i].lerp_(gradient, 1 - BETA1)
            self._second[i].lerp_(gradient.square(), 1 - BETA2)
            update = (self._first[i] / scale1) / ((self._second[i] / scale2).sqrt() + EPSILON)
            mask = moving.view(-1, *[1] * (gradient.ndim - 1))
            self.parameters[i] = self.parameters[i].detach() - self._learning_rates[i] * update * mask
