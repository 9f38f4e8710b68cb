"""Computes layers with plugins, by the operators' definitions."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import torch

from tensorrt_parsers.recording import Layer, Recording
from vim_deploy.engines.tensorrt.graph import PLUGIN_FIELDS
from vim_deploy.ops.reference import selective_scan_reference
from vim_deploy.ops.signature import FLAGS, INPUTS, OP_DOMAIN, OP_NAME, by_name

_MAGIC_BYTES = 8  # at the start of the serialized data of our plugins for 8.6


def compute_plugin(network: Recording, layer: Layer, *inputs: torch.Tensor) -> torch.Tensor:
    """The output of a plugin that this module knows. Raises KeyError for another."""
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


PLUGINS: dict[tuple[str, str], Callable[..., torch.Tensor]] = {(OP_DOMAIN, OP_NAME): _selective_scan}
