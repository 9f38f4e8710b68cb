from __future__ import annotations

from torch import Tensor

from toy_task.spec import SPEC
from vim_deploy.export.task import TaskModule


class CertaintyModule(TaskModule):
    """`certainty` (batch, 1): the probability of the best class."""

    spec = SPEC

    def forward(self, pixels: Tensor) -> Tensor:
        probabilities: Tensor = self.model(pixels).softmax(-1)
        return probabilities.amax(-1, keepdim=True)
