"""Layers that compute with numbers. Each function takes the network, the layer and its inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from tensorrt_parsers.detection import suppression
from tensorrt_parsers.recording import INTEGERS, Layer, Recording, UnsupportedLayerError

Function = Callable[..., torch.Tensor | tuple[torch.Tensor, ...]]

# By the numbers of TensorRT's enumerations.
_ELEMENTWISE: dict[int, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    0: torch.add, 1: torch.mul, 2: torch.maximum, 3: torch.minimum, 4: torch.sub, 6: torch.pow,
    8: torch.logical_and, 9: torch.logical_or, 10: torch.logical_xor, 11: torch.eq, 12: torch.gt,
    13: torch.lt,
}  # fmt: skip
_DIVIDE, _FLOOR_DIVIDE = 5, 7
_UNARY: dict[int, Callable[[torch.Tensor], torch.Tensor]] = {
    0: torch.exp, 1: torch.log, 2: torch.sqrt, 3: torch.reciprocal, 4: torch.abs, 5: torch.neg, 6: torch.sin,
    7: torch.cos, 17: torch.ceil, 18: torch.floor, 19: torch.erf, 20: torch.logical_not, 21: torch.sign,
    22: torch.round,
}  # fmt: skip
_ACTIVATION: dict[int, Callable[[torch.Tensor], torch.Tensor]] = {
    0: F.relu, 1: torch.sigmoid, 2: torch.tanh, 7: F.softplus, 12: F.gelu,
}  # fmt: skip
_CLIP = 8
_MAX_POOLING, _TRANSPOSED, _PER_CHANNEL, _LINEAR = 0, 1, 1, 1
_HALF_PIXEL, _ALIGN_CORNERS = 2, 0
_REDUCE: dict[int, Callable[..., torch.Tensor]] = {0: torch.sum, 2: torch.amax, 3: torch.amin, 4: torch.mean}
_PRODUCT = 1


def wide(x: torch.Tensor) -> torch.Tensor:
    """Floating-point numbers as float32, others as they are."""
    return x.float() if x.is_floating_point() else x


def axes_of(mask: int) -> list[int]:
    """The axes of a bit mask."""
    return [axis for axis in range(mask.bit_length()) if mask >> axis & 1]


def weights_of(network: Recording, setting: dict[str, Any]) -> torch.Tensor:
    """Weights in their own type."""
    values = torch.from_numpy(network.weights(setting).copy())
    return values.view(getattr(torch, setting["type"])) if setting["type"] in INTEGERS else values


def _padding(settings: dict[str, Any], rank: int) -> tuple[list[int], list[int]]:
    both = settings.get("padding_nd", [0] * rank)
    return settings.get("pre_padding", both), settings.get("post_padding", both)


def _padded(x: torch.Tensor, before: list[int], after: list[int], value: float = 0.0) -> torch.Tensor:
    return F.pad(
        x,
        [size for pair in zip(reversed(before), reversed(after), strict=True) for size in pair],
        value=value,
    )


def _kernel_and_bias(
    network: Recording, settings: dict[str, Any]
) -> tuple[torch.Tensor, torch.Tensor | None]:
    bias = settings["bias_weights"]
    kernel = weights_of(network, settings["kernel_weights"]).float()
    return kernel, weights_of(network, bias).float() if bias["count"] else None


def _convolution(network: Recording, layer: Layer, x: torch.Tensor) -> torch.Tensor:
    settings = layer.settings
    size, groups, rank = settings["kernel_size_nd"], settings["nb_groups"], len(settings["kernel_size_nd"])
    kernel, bias = _kernel_and_bias(network, settings)
    kernel = kernel.reshape(settings["nb_output_maps"], x.shape[1] // groups, *size)
    stride, dilation = settings.get("stride_nd", [1] * rank), settings.get("dilation_nd", [1] * rank)
    function = getattr(F, f"conv{rank}d")
    result: torch.Tensor = function(
        _padded(x.float(), *_padding(settings, rank)), kernel, bias, stride, 0, dilation, groups
    )
    return result


def _deconvolution(network: Recording, layer: Layer, x: torch.Tensor) -> torch.Tensor:
    settings = layer.settings
    size, groups, rank = settings["kernel_size_nd"], settings["nb_groups"], len(settings["kernel_size_nd"])
    kernel, bias = _kernel_and_bias(network, settings)
    kernel = kernel.reshape(x.shape[1], settings["nb_output_maps"] // groups, *size)
    before, after = _padding(settings, rank)
    if before != after:
        raise UnsupportedLayerError(f"padding {before} before and {after} after")
    stride, dilation = settings.get("stride_nd", [1] * rank), settings.get("dilation_nd", [1] * rank)
    function = getattr(F, f"conv_transpose{rank}d")
    result: torch.Tensor = function(x.float(), kernel, bias, stride, before, 0, groups, dilation)
    return result


def _pooling(network: Recording, layer: Layer, x: torch.Tensor) -> torch.Tensor:
    settings = layer.settings
    window, kind = settings["window_size_nd"], settings["pooling_type"]
    before, after = _padding(settings, len(window))
    stride = settings.get("stride_nd", [1] * len(window))
    if kind == _MAX_POOLING:
        return F.max_pool2d(_padded(x.float(), before, after, -float("inf")), window, stride)
    if any(before) or any(after):
        raise UnsupportedLayerError("average pooling with padding")
    return F.avg_pool2d(x.float(), window, stride)


def _activation(network: Recording, layer: Layer, x: torch.Tensor) -> torch.Tensor:
    kind = layer.settings["activation_type"]
    if kind == _CLIP:
        return x.float().clamp(layer.settings["alpha"], layer.settings["beta"])
    return _ACTIVATION[kind](x.float())


def _scale(network: Recording, layer: Layer, x: torch.Tensor) -> torch.Tensor:
    shape = [1] * x.ndim
    if layer.settings["mode"] == _PER_CHANNEL:
        shape[layer.settings["channel_axis"]] = -1
    scale, shift, power = (
        weights_of(network, layer.settings[name]).float() for name in ("scale", "shift", "power")
    )
    x = x.float()
    x = x * scale.reshape(shape) if scale.numel() else x
    x = x + shift.reshape(shape) if shift.numel() else x
    return x ** power.reshape(shape) if power.numel() else x


def _soft_max(network: Recording, layer: Layer, x: torch.Tensor) -> torch.Tensor:
    (axis,) = axes_of(layer.settings["axes"])
    return torch.softmax(x.float(), axis)


def _elementwise(network: Recording, layer: Layer, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    operation = layer.settings["operation"]
    a, b = wide(a), wide(b)
    if operation == _DIVIDE:
        return torch.div(a, b, rounding_mode=None if a.is_floating_point() else "trunc")
    if operation == _FLOOR_DIVIDE:
        return torch.div(a, b, rounding_mode="floor")
    return _ELEMENTWISE[operation](a, b)


def _unary(network: Recording, layer: Layer, x: torch.Tensor) -> torch.Tensor:
    return _UNARY[layer.settings["operation"]](wide(x))


def _reduce(network: Recording, layer: Layer, x: torch.Tensor) -> torch.Tensor:
    axes, keep = axes_of(layer.settings["reduce_axes"]), layer.settings["keep_dimensions"]
    x = wide(x)
    if layer.settings["operation"] == _PRODUCT:
        for axis in reversed(axes):
            x = x.prod(axis, keepdim=keep)
        return x
    return _REDUCE[layer.settings["operation"]](x, axes, keepdim=keep)


def _matrix_multiply(network: Recording, layer: Layer, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    first, second = (
        x.float().transpose(-1, -2) if layer.settings[name] == _TRANSPOSED else x.float()
        for x, name in ((a, "operation0"), (b, "operation1"))
    )
    return first @ second


def _normalization(
    network: Recording, layer: Layer, x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    axes = axes_of(layer.settings["axes"])
    x = x.float()
    centered = x - x.mean(axes, keepdim=True)
    variance = (centered**2).mean(axes, keepdim=True)
    return centered / torch.sqrt(variance + layer.settings["epsilon"]) * scale.float() + bias.float()


def _resize(
    network: Recording, layer: Layer, x: torch.Tensor, shape: torch.Tensor | None = None
) -> torch.Tensor:
    settings = layer.settings
    scale = settings["scales"][2:] if "scales" in settings else None
    size = shape.tolist() if shape is not None else settings.get("output_dimensions", [])
    transformation = settings.get("coordinate_transformation")
    if settings["resize_mode"] != _LINEAR or transformation not in (_HALF_PIXEL, _ALIGN_CORNERS):
        raise UnsupportedLayerError(f"resize with {settings}")
    aligned = transformation == _ALIGN_CORNERS
    sizes = None if scale else size[2:]
    return F.interpolate(x.float(), sizes, scale, "bilinear", align_corners=aligned)


def _scale_of(layer: Layer, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    axis = layer.settings["axis"]
    if scale.numel() == 1:
        return scale.float()
    return scale.float().reshape([-1 if index == axis else 1 for index in range(x.ndim)])


# The zero point, a further input of these two layers, is always zero.
def _quantize(
    network: Recording, layer: Layer, x: torch.Tensor, scale: torch.Tensor, *zero: torch.Tensor
) -> torch.Tensor:
    values = x.float() / _scale_of(layer, x, scale)
    if layer.outputs[0].type == "int8":
        return torch.round(values).clamp(-128, 127).to(torch.int8)
    return values.clamp(-448, 448).to(torch.float8_e4m3fn)


def _dequantize(
    network: Recording, layer: Layer, x: torch.Tensor, scale: torch.Tensor, *zero: torch.Tensor
) -> torch.Tensor:
    return x.float() * _scale_of(layer, x, scale)


def _top_k(
    network: Recording, layer: Layer, x: torch.Tensor, k: torch.Tensor | None = None
) -> tuple[torch.Tensor, ...]:
    (axis,) = axes_of(layer.settings["reduce_axes"])
    count = int(k) if k is not None else layer.settings["k"]
    order = torch.sort(x, dim=axis, descending=layer.settings["operation"] == 0, stable=True)
    return order.values.narrow(axis, 0, count), order.indices.narrow(axis, 0, count)


LAYERS: dict[str, Function] = {
    "Activation": _activation,
    "Convolution": _convolution,
    "Deconvolution": _deconvolution,
    "Dequantize": _dequantize,
    "ElementWise": _elementwise,
    "MatrixMultiply": _matrix_multiply,
    "NMS": suppression,
    "Normalization": _normalization,
    "Pooling": _pooling,
    "Quantize": _quantize,
    "Reduce": _reduce,
    "Resize": _resize,
    "Scale": _scale,
    "SoftMax": _soft_max,
    "TopK": _top_k,
    "Unary": _unary,
}
