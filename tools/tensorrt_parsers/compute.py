"""Computes a recorded network layer by layer, as NvInfer.h describes the layers.

The result shows whether the parser understood the file as it was meant. Floating-point arithmetic is in
float32; every tensor is rounded to the type that the network gives it. TensorRT's kernels are not used.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from tensorrt_parsers.layers import LAYERS
from tensorrt_parsers.layers_of_shapes import SHAPE_LAYERS
from tensorrt_parsers.plugins import compute_plugin
from tensorrt_parsers.recording import Layer, Recording, Tensor

Values = dict[int, torch.Tensor]  # by the tensor's id


def compute(network: Recording, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs by name. Raises ComputeError that names the layer, or KeyError for a missing input."""
    values: Values = {tensor.id: torch.from_numpy(inputs[tensor.name]) for tensor in network.inputs}
    layers = _in_order(network)
    last_use = _last_uses(network, layers)
    with torch.no_grad():
        for position, layer in enumerate(layers):
            _compute_layer(network, layer, values)
            for tensor in filter(None, layer.inputs):
                if last_use[tensor.id] == position:
                    values.pop(tensor.id, None)
    return {tensor.name: values[tensor.id].numpy() for tensor in network.outputs}


class ComputeError(Exception):
    """A layer cannot be computed, or its result does not have the recorded shape."""


def _in_order(network: Recording) -> list[Layer]:
    """The layers, each after those that compute its inputs: the parser adds the k of a TopK after it."""
    available = {tensor.id for tensor in network.inputs}
    ordered: list[Layer] = []
    waiting = list(network.layers)
    while waiting:
        later = []
        for layer in waiting:
            if all(tensor is None or tensor.id in available for tensor in layer.inputs):
                ordered.append(layer)
                available.update(tensor.id for tensor in layer.outputs)
            else:
                later.append(layer)
        if len(later) == len(waiting):
            raise ComputeError(f"{later[0].kind} {later[0].name} has an input that no layer computes")
        waiting = later
    return ordered


def _last_uses(network: Recording, layers: list[Layer]) -> dict[int, int]:
    """The position of the last layer that reads a tensor; never for outputs of the network."""
    uses = {
        tensor.id: position
        for position, layer in enumerate(layers)
        for tensor in layer.inputs
        if tensor is not None
    }
    return {**uses, **{tensor.id: len(network.layers) for tensor in network.outputs}}


def _compute_layer(network: Recording, layer: Layer, values: Values) -> None:
    given = [None if tensor is None else values[tensor.id] for tensor in layer.inputs]
    shapes = [None if value is None else list(value.shape) for value in given]
    try:
        results = _function(layer)(network, layer, *given)
    except Exception as error:  # any: what fails is the network that the parser made
        raise ComputeError(f"{layer.kind} {layer.name} of {shapes}: {error!r}") from error
    results = results if isinstance(results, tuple) else (results,)
    for tensor, value in zip(layer.outputs, results, strict=True):
        values[tensor.id] = _checked(layer, tensor, value.to(getattr(torch, tensor.type)))


def _function(layer: Layer) -> Callable[..., torch.Tensor | tuple[torch.Tensor, ...]]:
    if layer.plugin is not None:
        return compute_plugin
    return {**LAYERS, **SHAPE_LAYERS}[layer.kind]


def _checked(layer: Layer, tensor: Tensor, value: torch.Tensor) -> torch.Tensor:
    recorded = [found if size < 0 else size for found, size in zip(value.shape, tensor.dims, strict=False)]
    if len(tensor.dims) != value.ndim or list(value.shape) != recorded:
        raise ComputeError(
            f"{layer.kind} {layer.name}: the result is {list(value.shape)}, recorded as {list(tensor.dims)}"
        )
    return value
