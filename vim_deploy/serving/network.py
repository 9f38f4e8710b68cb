"""A model of the server as the network of a task."""

from __future__ import annotations

import numpy as np

from vim_deploy.engines.tensors import BatchRange, TensorSpec
from vim_deploy.serving.description import Description
from vim_deploy.serving.tensors import ask


class ServedNetwork:
    """Implements `vim_deploy.tasks.base.Network`; each run is a request to another model of this server."""

    def __init__(self, description: Description) -> None:
        self.path = description.model
        self.metadata = description.model_metadata()
        self.class_names = description.class_names
        self.output: TensorSpec = description.output
        self.batches: BatchRange = description.batches
        (self._input,) = (spec.name for spec in description.inputs)
        self._outputs = [spec.name for spec in description.outputs]

    def run(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Outputs by name for float32 pixels (batch, channels, height, width). Raises EngineError."""
        return ask(self.path, {self._input: pixels}, self._outputs)
