"""The exported network of a classifier."""

from __future__ import annotations

from torch import Tensor

from vim_deploy.export.task import TaskModule
from vim_deploy.tasks.classify.spec import SPEC


class ClassifyModule(TaskModule):
    """`logits` (batch, classes), as the model returns them."""

    spec = SPEC

    def forward(self, pixels: Tensor) -> Tensor:  # type: ignore[override]  # no settings
        logits: Tensor = self.model(pixels)
        return logits
