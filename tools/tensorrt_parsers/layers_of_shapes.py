"""Layers that move values or compute shapes. Each function takes the network, the layer and its inputs."""

from __future__ import annotations

from typing import Any

import torch

from tensorrt_parsers.layers import Function, weights_of
from tensorrt_parsers.recording import Layer, Recording, UnsupportedLayerError

_ELEMENT, _ND = 1, 2  # modes of a gather
_STRICT, _WRAP, _CLAMP, _FILL = 0, 1, 2, 3  # modes of a slice


def _given(layer: Layer, tensor: torch.Tensor | None, name: str) -> list[int] | None:
    """A list given by an input, or by a setting."""
    setting: list[int] | None = layer.settings.get(name)
    return tensor.tolist() if tensor is not None else setting


def _constant(network: Recording, layer: Layer) -> torch.Tensor:
    return weights_of(network, layer.settings["weights"]).reshape(layer.settings["dimensions"])


def _same(network: Recording, layer: Layer, x: torch.Tensor) -> torch.Tensor:
    return x


def _shape(network: Recording, layer: Layer, x: torch.Tensor) -> torch.Tensor:
    return torch.tensor(x.shape)


def _select(
    network: Recording, layer: Layer, condition: torch.Tensor, a: torch.Tensor, b: torch.Tensor
) -> torch.Tensor:
    return torch.where(condition, a, b)


def _non_zero(network: Recording, layer: Layer, x: torch.Tensor) -> torch.Tensor:
    return torch.nonzero(x).T


def _concatenation(network: Recording, layer: Layer, *parts: torch.Tensor) -> torch.Tensor:
    return torch.cat(parts, layer.settings["axis"])


def _shuffle(
    network: Recording, layer: Layer, x: torch.Tensor, shape: torch.Tensor | None = None
) -> torch.Tensor:
    settings = layer.settings
    if "first_transpose" in settings:
        x = x.permute(settings["first_transpose"][: x.ndim])
    target = _given(layer, shape, "reshape_dimensions")
    if target is not None:
        if settings.get("zero_is_placeholder", True):
            target = [x.shape[axis] if size == 0 else size for axis, size in enumerate(target)]
        x = x.reshape(target)
    return x.permute(settings["second_transpose"][: x.ndim]) if "second_transpose" in settings else x


def _axes(axes: torch.Tensor, rank: int) -> list[int]:
    return sorted(int(axis) % rank for axis in axes.reshape(-1))


def _squeeze(network: Recording, layer: Layer, x: torch.Tensor, axes: torch.Tensor) -> torch.Tensor:
    return x.squeeze(tuple(_axes(axes, x.ndim)))


def _unsqueeze(network: Recording, layer: Layer, x: torch.Tensor, axes: torch.Tensor) -> torch.Tensor:
    for axis in _axes(axes, x.ndim + axes.numel()):
        x = x.unsqueeze(axis)
    return x


def _gather(network: Recording, layer: Layer, data: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    index, mode = index.long(), layer.settings["mode"]
    if layer.settings.get("nb_element_wise_dims", 0):
        raise UnsupportedLayerError("a gather with batch dimensions")
    if mode == _ND:
        return data[tuple(index.unbind(-1))]
    axis = layer.settings["gather_axis"]
    if mode == _ELEMENT:
        return torch.gather(data, axis, index)
    first = layer.inputs[0]
    if bool((index < 0).any()) and first is not None and first.dims[axis] < 0:
        raise ValueError("a negative index into an axis of open size, which NvInfer.h leaves undefined")
    picked = data.index_select(axis, index.reshape(-1) % data.shape[axis])
    return picked.reshape(*data.shape[:axis], *index.shape, *data.shape[axis + 1 :])


def _slice(
    network: Recording,
    layer: Layer,
    x: torch.Tensor,
    start: torch.Tensor | None = None,
    size: torch.Tensor | None = None,
    stride: torch.Tensor | None = None,
    fill: torch.Tensor | None = None,
    axes: torch.Tensor | None = None,
) -> torch.Tensor:
    first, count, step = (
        _given(layer, tensor, name) for tensor, name in ((start, "start"), (size, "size"), (stride, "stride"))
    )
    assert first is not None and count is not None and step is not None
    chosen = _given(layer, axes, "axes") or list(range(x.ndim))
    padding = torch.zeros((), dtype=x.dtype) if fill is None else fill.reshape(())
    for axis, *bounds in zip((each % x.ndim for each in chosen), first, count, step, strict=True):
        x = _sliced(x, axis, bounds, layer.settings.get("mode", _STRICT), padding)
    return x


def _sliced(x: torch.Tensor, axis: int, bounds: list[int], mode: int, padding: torch.Tensor) -> torch.Tensor:
    first, count, step = bounds
    index = first + torch.arange(count) * step
    outside = (index < 0) | (index >= x.shape[axis])
    if mode == _STRICT and bool(outside.any()):
        raise ValueError(f"axis {axis} from {first}, {count} by {step}, of {x.shape[axis]}")
    if mode not in (_STRICT, _WRAP, _CLAMP, _FILL):
        raise UnsupportedLayerError(f"a slice of mode {mode}")
    if mode == _WRAP:
        index = index % x.shape[axis]
    x = x.index_select(axis, index.clamp(0, x.shape[axis] - 1))
    if mode != _FILL:
        return x
    return torch.where(outside.reshape([-1] + [1] * (x.ndim - axis - 1)), padding, x)


def _fill(network: Recording, layer: Layer, *inputs: Any) -> torch.Tensor:
    shape = _given(layer, inputs[0] if inputs else None, "dimensions")
    assert shape is not None
    alpha, beta = (inputs[i] if len(inputs) > i else None for i in (1, 2))
    if layer.settings["operation"] != 0:
        raise UnsupportedLayerError(f"a fill of operation {layer.settings['operation']}")
    start = alpha.reshape(()) if alpha is not None else torch.tensor(layer.settings["alpha"])
    delta = beta.reshape(-1) if beta is not None else torch.tensor([layer.settings["beta"]])
    result = start.expand(shape).clone()
    for axis, size in enumerate(shape):
        ramp = torch.arange(size).reshape([-1] + [1] * (len(shape) - axis - 1))
        result = result + ramp * delta[axis]
    return result


SHAPE_LAYERS: dict[str, Function] = {
    "Cast": _same,
    "Concatenation": _concatenation,
    "Constant": _constant,
    "Fill": _fill,
    "Gather": _gather,
    "Identity": _same,
    "NonZero": _non_zero,
    "Select": _select,
    "Shape": _shape,
    "Shuffle": _shuffle,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
}
