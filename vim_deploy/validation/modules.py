"""Compares the modules of any network with their values in the exported graph, which are found by name.

Hooks on the eager float64 network record the input and the output of each module. A module is a part, see
`vim_deploy.validation.layers`: it is recomputed from the artifact's own input to it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from vim_deploy.errors import EngineError, ExportError
from vim_deploy.export.task import TaskModule
from vim_deploy.families.module_values import has_module, module_input, module_output
from vim_deploy.families.parts import PIXELS, Part
from vim_deploy.integrations.mamba_ssm import exportable
from vim_deploy.onnx_graph.index import GraphIndex, NoMatchError
from vim_deploy.ops import use_scan
from vim_deploy.ops.signature import OP_DOMAIN, OP_NAME
from vim_deploy.text import plural
from vim_deploy.validation.artifacts import Target
from vim_deploy.validation.layers import LayerReport, NotCompared, compare_layers
from vim_deploy.validation.probes import open_probed

# See Part.limit. A module can be a whole stage of a network, so its limit is about the tolerance of whole
# outputs, 2e-4 in float32.
LIMIT = 4096.0
_CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)
_FLOATS = {getattr(onnx.TensorProto, name) for name in ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE")}
_NAMES_SHOWN = 3


@dataclass(frozen=True)
class _Ends:
    """The values of a module in the graph: its input and its output, and the shape of the output."""

    input: str
    output: str
    shape: tuple[int | str, ...]


@dataclass
class _Recorded:
    """What hooks saw of the modules: the last call of each, with its output, and the number of calls."""

    calls: dict[str, tuple[tuple[Any, ...], dict[str, Any], Any]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def hook(
        self, name: str, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], found: Any
    ) -> None:
        self.calls[name] = (args, kwargs, found)
        self.counts[name] = self.counts.get(name, 0) + 1


def compare_modules(
    task: TaskModule, target: Target, source: Path, pixels: np.ndarray, threads: int | None = None
) -> LayerReport:
    """`source`: the ONNX file of `target`. `pixels` are repeated to fill a fixed batch size.

    The modules are those of `chosen_modules`. Raises EngineError if none of them can be compared.
    """
    double = task.of(copy.deepcopy(task.model).double()).eval()
    network = double.model.get_submodule(getattr(double.model, "root", ""))
    skipped: dict[str, str] = {}
    ends: dict[str, _Ends] = {}

    def find_probes(model: onnx.ModelProto) -> dict[str, str]:
        ends.update(_find(model, chosen_modules(network, model), skipped))
        given = model.graph.input[0].name
        inputs = {_input_of(name): found.input for name, found in ends.items() if found.input != given}
        return inputs | {name: found.output for name, found in ends.items()}

    artifact, probes = open_probed(target, source, find_probes, threads)
    with artifact, exportable(double):
        pixels = np.resize(pixels, (artifact.batch or len(pixels), *pixels.shape[1:]))
        recorded = _record(double, network, ends, pixels)
        parts = []
        for name in recorded.calls:
            if reason := _reason(recorded, name, ends[name].shape):
                skipped[name] = reason
            else:
                parts.append(_part(network, name, recorded, _input_of(name) in probes))
        skipped.update((name, "is not called") for name in ends if name not in recorded.calls)
        if not parts:
            raise _nothing(source, skipped)
        outputs = {part.name: recorded.calls[part.name][2] for part in parts}
        report = compare_layers(parts, outputs, artifact, probes, pixels)
    return replace(report, not_compared=tuple(NotCompared(*item) for item in skipped.items()))


def chosen_modules(network: nn.Module, model: onnx.ModelProto) -> list[str]:
    """The network's own modules, the elements of its lists of modules, and the modules that call a scan.

    Containers are replaced by their elements, also inside of each other.
    """
    scans = {
        node.name.rpartition("/")[0]
        for node in model.graph.node
        if node.domain == OP_DOMAIN and node.op_type == OP_NAME
    }
    found = {}
    for name, module in network.named_modules():
        parent = network.get_submodule(name.rpartition(".")[0])
        listed = isinstance(parent, (nn.ModuleList, nn.ModuleDict)) or parent is network
        listed = listed or (isinstance(parent, nn.Sequential) and name.rpartition(".")[0] in found)
        if name and (listed or name in scans):
            found[name] = isinstance(module, _CONTAINERS)
    return [name for name, is_container in found.items() if not is_container]


def _find(model: onnx.ModelProto, names: Iterable[str], skipped: dict[str, str]) -> dict[str, _Ends]:
    """The values of each module; those without go to `skipped` with the reason."""
    graph = GraphIndex(model.graph)
    values = [*model.graph.value_info, *model.graph.input, *model.graph.output]
    ignored = {item.name for item in values if item.type.tensor_type.elem_type not in _FLOATS}
    given = {model.graph.input[0].name}
    found = {}
    for name in names:
        if not has_module(graph, name):
            skipped[name] = "has no nodes in the graph"
            continue
        try:
            output = module_output(graph, name, ignored)
            found[name] = _Ends(module_input(graph, name, ignored, given), output, graph.shape(output))
        except ExportError:
            skipped[name] = "does not have one input and one output in the graph"
        except NoMatchError:
            skipped[name] = "has an output of unknown shape in the graph"
    return found


def _record(double: TaskModule, network: nn.Module, names: Iterable[str], pixels: np.ndarray) -> _Recorded:
    recorded = _Recorded()
    handles = [
        network.get_submodule(name).register_forward_hook(partial(recorded.hook, name), with_kwargs=True)
        for name in names
    ]
    settings = [torch.tensor(value) for value in double.spec.settings.values()]
    try:
        with torch.inference_mode(), use_scan("reference"):
            double(torch.from_numpy(pixels).double(), *settings)
    finally:
        for handle in handles:
            handle.remove()
    return recorded


def _reason(recorded: _Recorded, name: str, shape: tuple[int | str, ...]) -> str | None:
    """Why a module cannot be compared."""
    args, kwargs, found = recorded.calls[name]
    if recorded.counts[name] > 1:
        return f"is called {plural(recorded.counts[name], 'time')}"
    tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
    if not args or len(tensors) != 1 or tensors[0] is not args[0]:
        return "does not take one tensor"
    if not isinstance(found, Tensor) or found.dim() < 2:
        return "does not return one tensor with a batch"
    if len(shape) != found.dim() or any(
        isinstance(size, int) and size != own for size, own in zip(shape, found.shape, strict=True)
    ):
        return f"returns {tuple(found.shape)}, and its value in the graph is {shape}"
    return None


def _part(network: nn.Module, name: str, recorded: _Recorded, computed: bool) -> Part:
    module = network.get_submodule(name)
    args, kwargs, _ = recorded.calls[name]
    source = _input_of(name) if computed else PIXELS
    return Part(
        name, "module", None, (source,), LIMIT, lambda value: module(value, *args[1:], **kwargs), stream=True
    )


def _input_of(name: str) -> str:
    return f"{name} input"


def _nothing(source: Path, skipped: Mapping[str, str]) -> EngineError:
    shown = "; ".join(f"{name} {reason}" for name, reason in list(skipped.items())[:_NAMES_SHOWN])
    return EngineError(
        f"--layers: none of {plural(len(skipped), 'module')} of the network can be found in {source} and "
        f"compared{': ' + shown if shown else ''}. Drop --layers to compare whole outputs."
    )
