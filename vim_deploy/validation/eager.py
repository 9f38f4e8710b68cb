"""The eager model with the reference operator, in float32 and in float64."""

from __future__ import annotations

import copy

import numpy as np
import torch

from vim_deploy.errors import EngineError
from vim_deploy.export.task import TaskModule
from vim_deploy.ops import use_scan


class EagerModel:
    """A task with one output, run by the reference operator; called with float32 pixels.

    `double` computes in float64 from the same float32 weights.
    """

    def __init__(self, task: TaskModule, double: bool = False) -> None:
        self.label = "eager float64" if double else "eager float32"
        self.dtype = torch.float64 if double else torch.float32
        self._task = (task.of(copy.deepcopy(task.model).double()) if double else task).eval()

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """(images, channels, height, width) to the task's output, one image at a time to limit memory."""
        with torch.inference_mode(), use_scan("reference"):
            parts = [
                self._task(torch.from_numpy(pixels[index : index + 1]).to(self.dtype)).numpy()
                for index in range(len(pixels))
            ]
        return np.concatenate(parts)


def features_kind(output: np.ndarray) -> str:
    """The kind of features, from the axes of the output. Raises EngineError for other outputs."""
    kinds = {2: "pooled", 3: "tokens", 4: "map"}
    if output.ndim not in kinds:
        raise EngineError(
            f"features of shape {output.shape}; expected (batch, embed), (batch, tokens, embed) or (batch, "
            "embed, grid height, grid width)."
        )
    return kinds[output.ndim]
