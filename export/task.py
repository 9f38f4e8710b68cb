"""What an exported file computes: the base of the modules that the exporter traces, one class per task."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, ClassVar, Protocol, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from vim_deploy.data.preprocess import Preprocessing
from vim_deploy.parity.difference import Difference
from vim_deploy.registry import load_object
from vim_deploy.tasks.options import task_options
from vim_deploy.tasks.spec import TaskSpec

Inputs: TypeAlias = "np.ndarray | Mapping[str, np.ndarray]"  # pixels, or inputs by name

INPUT_NAME = "pixels"
RANDOM_IMAGES = 2


class Network(Protocol):
    """What export needs of a model, which is also an `nn.Module`. A task may need more of it.

    `channels`, `image_size` (height, width): of the input. `num_classes`: 0 for a model without head.
    """

    channels: int
    image_size: tuple[int, int]
    num_classes: int

    def __call__(self, pixels: Tensor) -> Any:
        """Pixels (batch, channels, height, width) to the model's own outputs."""

    def cast_weights(self, dtype: torch.dtype) -> None:
        """Convert in place the weights that a file in reduced precision stores in `dtype`."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...


class TaskModule(nn.Module):
    """Computes the outputs of one task with `model`.

    The input is pixels (batch, channels, height, width) of one size, followed by the scalars in `settings`.
    `forward` returns one tensor, or a tuple of as many as the task has outputs. `fixed_batch`: the only
    supported batch size. `open_dimension`: the name of the outputs' dynamic axis, None if axes have their own
    names. `options`: an object of the class in `spec.export_options`.
    """

    spec: ClassVar[TaskSpec]
    fixed_batch: ClassVar[int | None] = None
    open_dimension: ClassVar[str | None] = "batch"
    model: Any

    def __init__(self, model: Network, options: Any = None) -> None:
        super().__init__()
        self.model = model
        self.options = options or load_object(self.spec.export_options)()
        self.channels, self.image_size = model.channels, model.image_size

    def forward(self, pixels: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The task's outputs; by default, the model's. A task with settings has them as further arguments."""
        outputs: Tensor | tuple[Tensor, ...] = self.model(pixels)
        return outputs

    @classmethod
    def options_of(cls, output: np.ndarray) -> dict[str, Any]:
        """The options of the module that an artifact with this primary output was exported from."""
        return {}

    @property
    def outputs(self) -> tuple[str, ...]:
        return self.spec.outputs

    def of(self, model: Network) -> TaskModule:
        """The same task and options with another model of the same structure."""
        return type(self)(model, self.options)

    @property
    def settings(self) -> dict[str, float]:
        """Scalar inputs after the pixels, with their default values in the file."""
        return {}

    def example_inputs(self, batch: int | None) -> dict[str, Tensor]:
        """The inputs that the graph is traced with, by name; `batch` None: a dynamic batch size."""
        # Two images, because the exporter treats a batch size of 1 as a constant.
        pixels = torch.zeros(batch or 2, self.channels, *self.image_size)
        return {INPUT_NAME: pixels, **{name: torch.tensor(value) for name, value in self.settings.items()}}

    def dynamic_shapes(self, batch: int | None) -> Any:
        """The dynamic axes, as for torch.export."""
        return {INPUT_NAME: {0: torch.export.Dim("batch", min=1)}} if batch is None else None

    def dynamic_axes(self, name: str) -> Collection[int]:
        """The axes of an input that are dynamic if `dynamic_shapes` returns any."""
        return (0,) if name == INPUT_NAME else ()

    @property
    def config(self) -> dict[str, Any]:
        """What the task adds to the configuration in the metadata."""
        return {}

    def translations(self) -> dict[Callable[..., Any], Callable[..., Any]]:
        """ONNX translations of custom PyTorch operators that the task uses, besides the scan."""
        return {}

    def check_preprocessing(self, preprocessing: Preprocessing) -> None:
        """Raises ExportError for preprocessing that the model cannot be used with."""

    def pixels(self, image: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
        """The model input for an image: float32 (channels, height, width)."""
        return preprocessing(image)

    def random_inputs(self, generator: np.random.Generator) -> Inputs:
        """Random inputs to compare on."""
        return self.random_pixels(generator)

    def further_inputs(self, generator: np.random.Generator) -> list[Inputs]:
        """Random inputs of other sizes than `random_inputs`, to find sizes that the file fixes."""
        return []

    def random_pixels(self, generator: np.random.Generator) -> np.ndarray:
        """Normally distributed float32 pixels: two images, or `fixed_batch`."""
        shape = (self.fixed_batch or RANDOM_IMAGES, self.channels, *self.image_size)
        return generator.standard_normal(shape, dtype=np.float32)

    def join(self, parts: list[list[np.ndarray]]) -> list[np.ndarray]:
        """Concatenate the outputs of several batches."""
        return [np.concatenate(pieces) for pieces in zip(*parts, strict=True)]

    def difference(self, expected: list[np.ndarray], actual: list[np.ndarray]) -> Difference:
        """Compare two sets of outputs, each in the order of `outputs`."""
        reference, candidate = (dict(zip(self.outputs, values, strict=True)) for values in (expected, actual))
        return self.spec.compare(reference, candidate)


def task_module(spec: TaskSpec, model: Network, options: dict[str, Any]) -> TaskModule:
    """The task's module for this model. Raises EngineError or ExportError for options that do not fit it."""
    kind: type[TaskModule] = load_object(spec.module)
    return kind(model, task_options(spec, options, "this export", "export_options"))
