"""The exported network of a model with named arrays."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vim_deploy.arrays import INPUTS_KEY, ArrayInput
from vim_deploy.errors import ExportError
from vim_deploy.export.task import Inputs, Network, TaskModule
from vim_deploy.tasks.raw.spec import SPEC


class RawModule(TaskModule):
    """Named arrays to named arrays. Created for an image model, it takes `pixels`.

    `examples`: the inputs by name, in the order of the network's arguments. `axes`: for an input, the names
    of its dynamic axes. `output_names` None: the keys of the network's own outputs, or output0, output1 ...
    `same_as`: a module with the same outputs, which are then not found by a run.
    """

    spec = SPEC
    open_dimension = None

    def __init__(
        self,
        model: Any,
        options: Any = None,
        *,
        examples: Mapping[str, Tensor] | None = None,
        axes: Mapping[str, Mapping[int, str]] | None = None,
        output_names: Sequence[str] | None = None,
        same_as: RawModule | None = None,
    ) -> None:
        nn.Module.__init__(self)
        self.model, self.options = model, options
        self.channels = self.image_size = 0  # type: ignore[assignment]
        if examples is None:
            examples = {"pixels": torch.zeros(2, model.channels, *model.image_size)}
            axes = {"pixels": {0: "batch"}}
        self.examples, self.axes = dict(examples), {name: dict(found) for name, found in (axes or {}).items()}
        self._names = output_names
        self._outputs = self._found_names() if same_as is None else same_as.outputs

    @property
    def outputs(self) -> tuple[str, ...]:
        return self._outputs

    def of(self, model: Network) -> RawModule:
        return RawModule(model, self.options, examples=self.examples, axes=self.axes, same_as=self)

    def forward(self, *arrays: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensor for _, tensor in _named(self.model(*arrays)))

    @property
    def inputs(self) -> tuple[ArrayInput, ...]:
        """For the metadata."""
        found = []
        for name, tensor in self.examples.items():
            whole = not tensor.is_floating_point()
            low, high = (int(tensor.min()), int(tensor.max())) if whole and tensor.numel() else (0, 0)
            kind = str(tensor.dtype).removeprefix("torch.")
            found.append(ArrayInput(name, kind, tuple(tensor.shape), low, high))
        return tuple(found)

    @property
    def config(self) -> dict[str, Any]:
        return {INPUTS_KEY: [item.to_dict() for item in self.inputs]}

    def example_inputs(self, batch: int | None) -> dict[str, Tensor]:
        return self.examples

    def dynamic_shapes(self, batch: int | None) -> Any:
        if not self.axes:
            return None
        named = {name for axes in self.axes.values() for name in axes.values()}
        dims = {name: torch.export.Dim(name, min=1) for name in sorted(named)}
        shapes = [
            {axis: dims[name] for axis, name in self.axes.get(input_name, {}).items()} or None
            for input_name in self.examples
        ]
        return (tuple(shapes),)  # forward has one variadic argument

    def dynamic_axes(self, name: str) -> Collection[int]:
        return self.axes.get(name, {}).keys()

    def random_inputs(self, generator: np.random.Generator) -> dict[str, np.ndarray]:
        """Random arrays; every dynamic axis is one longer than in the example."""
        return self._random(generator, lambda size: size + 1)

    def further_inputs(self, generator: np.random.Generator) -> list[Inputs]:
        """Random arrays; every dynamic axis is more than twice as long as in the example."""
        return [self._random(generator, lambda size: 2 * size + 3)] if self.axes else []

    def _random(self, generator: np.random.Generator, size_of: Callable[[int], int]) -> dict[str, np.ndarray]:
        found = {}
        for item in self.inputs:
            dynamic = self.axes.get(item.name, {})
            shape = tuple(size_of(size) if axis in dynamic else size for axis, size in enumerate(item.shape))
            found[item.name] = item.random(generator, shape)
        return found

    def _found_names(self) -> tuple[str, ...]:
        with torch.inference_mode():
            found = _named(self.model.eval()(*self.examples.values()))
        names = tuple(name for name, _ in found)
        if self._names is None:
            return names
        if len(self._names) != len(names):
            raise ExportError(
                f"{len(self._names)} output names for a network with {len(names)} outputs; give one for each "
                f"of {', '.join(names)}."
            )
        return tuple(self._names)


def _named(found: Any) -> list[tuple[str, Tensor]]:
    """The tensors that a network returned, by name."""
    if isinstance(found, Tensor):
        items = [("output", found)]
    elif isinstance(found, Mapping):
        items = [(str(name), value) for name, value in found.items() if value is not None]
    elif isinstance(found, (tuple, list)):
        items = [(f"output{number}", value) for number, value in enumerate(found) if value is not None]
    else:
        items = [("the network", found)]
    for name, value in items:
        if not isinstance(value, Tensor):
            raise ExportError(
                f"{name} returns a {type(value).__name__}; expected a tensor, or tensors in a tuple, list or "
                "dictionary. Wrap the network in a module that returns only these."
            )
    return items
