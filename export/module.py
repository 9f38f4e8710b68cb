"""A PyTorch network that was given as an object, opened for a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vim_deploy.errors import ExportError
from vim_deploy.export.model import ExportModel, export_model_of
from vim_deploy.export.task import TaskModule
from vim_deploy.families.factory_network import open_network
from vim_deploy.families.family import FACTORY
from vim_deploy.families.registry import FAMILIES
from vim_deploy.registry import load_object
from vim_deploy.tasks.registry import TASKS

_RAW = "raw"


def open_raw_module(
    network: nn.Module,
    examples: Any,
    input_names: Sequence[str] | None,
    output_names: Sequence[str] | None,
    dynamic_axes: Mapping[str, Mapping[int, str]] | None,
    origin: Mapping[str, Any],
) -> ExportModel:
    """For named arrays. Raises ExportError for examples, names or axes that do not fit."""
    _check_network(network)
    inputs = _named_inputs(examples, input_names)
    axes = dynamic_axes or {}
    _check_axes(inputs, axes)
    kind: Callable[..., TaskModule] = load_object(TASKS.get(_RAW).module)
    task = kind(network.eval(), examples=inputs, axes=axes, output_names=output_names)
    name = type(network).__name__
    return ExportModel(
        family=FAMILIES.get(FACTORY),
        task=task,
        variant=name,
        config={"family": FACTORY, "name": name, **task.config},
        num_classes=0,
        origin=dict(origin),
        notes=(),
        preprocessing=None,
    )


def open_image_module(
    network: nn.Module, examples: Any, task: str, options: Mapping[str, Any], origin: Mapping[str, Any]
) -> ExportModel:
    """For a task with images. Raises ExportError for an example that is not a batch of images."""
    _check_network(network)
    if isinstance(examples, (tuple, list)) and len(examples) == 1:
        examples = examples[0]
    if not isinstance(examples, Tensor) or examples.dim() != 4 or examples.dtype != torch.float32:
        raise ExportError(
            f"the example for the task {task} must be one float32 tensor (batch, channels, height, width)."
        )
    opened = open_network(
        network,
        name=type(network).__name__,
        image_size=(examples.shape[2], examples.shape[3]),
        channels=examples.shape[1],
        origin=origin,
    )
    return export_model_of(opened, FAMILIES.get(FACTORY), TASKS.get(task), options)


def _check_network(network: nn.Module) -> None:
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if tensor.device.type != "cpu" or tensor.dtype in (torch.float16, torch.bfloat16, torch.float64):
            raise ExportError(
                f"{name} is {tensor.dtype} on {tensor.device}; networks are exported in float32, on the CPU. "
                "Export network.float().cpu()."
            )


def _named_inputs(examples: Any, names: Sequence[str] | None) -> dict[str, Tensor]:
    if isinstance(examples, Mapping):
        if names is not None and list(names) != list(examples):
            raise ExportError(f"input_names are {list(names)}, and the examples have {list(examples)}.")
        found = dict(examples)
    else:
        values = [examples] if isinstance(examples, Tensor) else list(examples)
        names = names or [f"input{number}" for number in range(len(values))]
        if len(names) != len(values):
            raise ExportError(
                f"{len(names)} input names for {len(values)} example inputs; give one for each."
            )
        found = dict(zip(names, values, strict=True))
    for name, value in found.items():
        if not isinstance(value, Tensor):
            raise ExportError(f"the example of {name} is a {type(value).__name__}; expected a tensor.")
    return {name: value.detach().cpu() for name, value in found.items()}


def _check_axes(inputs: Mapping[str, Tensor], axes: Mapping[str, Mapping[int, str]]) -> None:
    for name, found in axes.items():
        if name not in inputs:
            raise ExportError(f"dynamic_axes name {name!r}; the inputs are {', '.join(inputs)}.")
        for axis in found:
            shape = tuple(inputs[name].shape)
            if not 0 <= axis < len(shape) or shape[axis] < 2:
                raise ExportError(
                    f"axis {axis} of {name} cannot be dynamic with an example of shape {shape}; give an "
                    "example with a size of 2 or more along it."
                )
