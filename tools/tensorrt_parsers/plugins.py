"""Computes layers with plugins, by the operators' definitions."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import torch

from tensorrt_parsers.detection import roi_align_plugin
from tensorrt_parsers.recording import Layer, Recording
from vim_deploy.engines.fusion.domain import ATTRIBUTES, CONV_PAIR, FUSED_DOMAIN, SCAN_PAIR, TYPED_INPUTS
from vim_deploy.engines.tensorrt.graph import PLUGIN_FIELDS
from vim_deploy.ops.reference import selective_scan_reference
from vim_deploy.ops.signature import FLAGS, INPUTS, OP_DOMAIN, OP_NAME, by_name

_MAGIC_BYTES = 8  # at the start of the serialized data of our plugins for 8.6


def compute_plugin(
    network: Recording, layer: Layer, *inputs: torch.Tensor
) -> torch.Tensor | tuple[torch.Tensor, ...]:
    """The outputs of a plugin that this module knows. Raises KeyError for another."""
    assert layer.plugin is not None
    return PLUGINS[layer.plugin["namespace"], layer.plugin["name"]](layer, *inputs)


def integer_fields(layer: Layer, names: tuple[str, ...]) -> dict[str, int]:
    """Integer fields of a plugin of the project, from either generation of plugins."""
    assert layer.plugin is not None
    if "fields" in layer.plugin:
        return {name: layer.plugin["fields"][name][0] for name in names}
    data = bytes.fromhex(layer.plugin["data"])
    return dict(zip(names, struct.unpack_from(f"<{len(names)}i", data, _MAGIC_BYTES), strict=True))


def _selective_scan(layer: Layer, *inputs: torch.Tensor) -> torch.Tensor:
    fields = integer_fields(layer, PLUGIN_FIELDS)
    for spec, tensor in zip(INPUTS, inputs, strict=True):
        expected = torch.float32 if spec.float32 else inputs[0].dtype
        if tensor.dtype != expected:
            raise TypeError(f"{spec.name} is {tensor.dtype}, the plugin expects {expected}")
    named: dict[str, Any] = by_name(inputs)
    if not fields["gated"]:
        named["z"] = None
    flags = {name: bool(fields[name]) for name in FLAGS}
    result = selective_scan_reference(**named, **flags, groups=fields["groups"])
    assert isinstance(result, torch.Tensor)
    return result


def _causal_conv_pair(layer: Layer, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    xz, *filters = _checked_types(CONV_PAIR, inputs)
    taps, bias, taps_b, bias_b = filters
    width, channels = taps.shape
    x = xz[..., :channels].float().transpose(1, 2)

    def direction(weights: torch.Tensor, bias: torch.Tensor, pad: tuple[int, int]) -> torch.Tensor:
        padded = torch.nn.functional.pad(x, pad)
        sums = torch.nn.functional.conv1d(padded, weights.t().unsqueeze(1), bias, groups=channels)
        return torch.nn.functional.silu(sums).transpose(1, 2).to(xz.dtype)

    return direction(taps, bias, (width - 1, 0)), direction(taps_b, bias_b, (0, width - 1))


def _scan_pair(layer: Layer, *inputs: torch.Tensor) -> torch.Tensor:
    fields = integer_fields(layer, ATTRIBUTES[SCAN_PAIR])
    xz, *both = _checked_types(SCAN_PAIR, inputs)
    channels = both[0].shape[-1]
    z = xz[..., channels:].float()
    total = torch.zeros_like(z)
    for reverse in (False, True):
        u, projection, delta_weight, A, D, delta_bias = both[6 * reverse : 6 * reverse + 6]
        rank, state = len(delta_weight), len(A)
        steps, B, C = projection.float().split([rank, state, state], dim=-1)
        tensors = (u.float(), steps @ delta_weight, A.t(), B, C, D, z, delta_bias)
        softplus = bool(fields["delta_softplus"])
        y = selective_scan_reference(*tensors, delta_softplus=softplus, reverse=reverse)
        assert isinstance(y, torch.Tensor)
        total += y
    return (total / 2 if fields["average_directions"] else total).to(xz.dtype)


def _checked_types(kind: str, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """The inputs. Raises TypeError for one that does not have the type of the contract."""
    for index, tensor in enumerate(inputs):
        expected = inputs[0].dtype if index in TYPED_INPUTS[kind] else torch.float32
        if tensor.dtype != expected:
            raise TypeError(f"input {index} of {kind} is {tensor.dtype}, the plugin expects {expected}")
    return inputs


PLUGINS: dict[tuple[str, str], Callable[..., torch.Tensor | tuple[torch.Tensor, ...]]] = {
    (OP_DOMAIN, OP_NAME): _selective_scan,
    (FUSED_DOMAIN, CONV_PAIR): _causal_conv_pair,
    (FUSED_DOMAIN, SCAN_PAIR): _scan_pair,
    ("", "ROIAlign_TRT"): roi_align_plugin,
}
