"""The network in eager PyTorch, which exported files are compared with."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch

from vim_deploy.export.task import TaskModule
from vim_deploy.integrations.mamba_ssm import exportable
from vim_deploy.ops import use_scan


class EagerModel:
    """A task's network with the reference scan, one image at a time to keep memory low.

    The scan is plain PyTorch, not the kernel that the operator library also uses. With `float64` all weights
    and activations are float64. `settings`: of the task's scalar inputs; by default those that networks are
    compared with.
    """

    def __init__(
        self, task: TaskModule, *, float64: bool = False, settings: Mapping[str, float] | None = None
    ) -> None:
        self.label = "eager float64" if float64 else "eager float32"
        self._task = (task.of(copy.deepcopy(task.model).double()) if float64 else task).eval()
        self._settings = task.spec.settings if settings is None else settings
        self._dtype = torch.float64 if float64 else torch.float32

    def run(self, pixels: np.ndarray | Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Pixels (images, channels, height, width) to the task's outputs, in the order of `outputs`.

        Or inputs by name, which are run together. Floating-point outputs are float32, or float64 with
        `float64`.
        """
        task = self._task
        settings = [torch.tensor(value) for value in self._settings.values()]
        with torch.inference_mode(), use_scan("reference"), exportable(task):
            if isinstance(pixels, Mapping):
                return self._arrays(task(*map(self._tensor, pixels.values())))
            images = torch.from_numpy(pixels).to(self._dtype).split(1)
            return task.join([self._arrays(task(image, *settings)) for image in images])

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(values)
        return tensor.to(self._dtype) if tensor.is_floating_point() else tensor

    def _arrays(self, outputs: torch.Tensor | tuple[torch.Tensor, ...]) -> list[np.ndarray]:
        values = (outputs,) if isinstance(outputs, torch.Tensor) else outputs
        return [(value.to(self._dtype) if value.is_floating_point() else value).numpy() for value in values]
