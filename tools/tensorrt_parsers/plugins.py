"""Computes layers with plugins, by the operators' definitions."""

from __future__ import annotations

import struct
from collections.abc import Callable

import torch

from tensorrt_parsers.recording import Layer, Recording
from vim_deploy.engines.tensorrt.graph import PLUGIN_FIELDS
from vim_deploy.ops.reference import selective_scan_reference
from vim_deploy.ops.signature import INPUTS, OP_DOMAIN, OP_NAME, by_name

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
    given: dict[str, torch.Tensor | None] = dict(by_name(inputs))
    if not fields["gated"]:
        given["z"] = None
    softplus, reverse = bool(fields["delta_softplus"]), bool(fields["reverse"])
    result = selective_scan_reference(  # type: ignore[arg-type]  # names of the signature
        **given, delta_softplus=softplus, reverse=reverse, groups=fields["groups"]
    )
    assert isinstance(result, torch.Tensor)
    return result


PLUGINS: dict[tuple[str, str], Callable[..., torch.Tensor]] = {(OP_DOMAIN, OP_NAME): _selective_scan}
