"""Make an exported graph plain: constants folded, nothing unused, names that say where a node comes from."""

from __future__ import annotations

import ast
from collections import Counter

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

_SCOPES = "pkg.torch.onnx.name_scopes"
# Folding these would store a result where a small recipe is kept now.
_NEVER_FOLD = {"ConstantOfShape", "Expand", "Tile"}


def fold_constants(model: onnx.ModelProto) -> None:
    """Evaluate every node of standard operators whose inputs are all constant; in place.

    Weights are transposed, and `A = -exp(A_log)` is computed, once here instead of in every run.
    """
    graph = model.graph
    constants = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    kept = []
    folded: dict[str, np.ndarray] = {}
    for node in graph.node:
        foldable = node.domain in ("", "ai.onnx") and node.op_type not in _NEVER_FOLD
        if foldable and all(name in constants for name in node.input if name):
            for name, value in zip(node.output, _evaluate(node, constants, model), strict=True):
                constants[name] = folded[name] = value
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
    graph.initializer.extend(
        numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in folded.items()
    )
    _drop_unused(graph)


def _evaluate(
    node: onnx.NodeProto, constants: dict[str, np.ndarray], model: onnx.ModelProto
) -> list[np.ndarray]:
    inputs = {name: constants[name] for name in node.input if name}
    graph = onnx.helper.make_graph(
        [node],
        "constant",
        [onnx.helper.make_value_info(name, _type_of(value)) for name, value in inputs.items()],
        [onnx.helper.make_empty_tensor_value_info(name) for name in node.output],
    )
    opsets = [entry for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    single = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=model.ir_version)
    return [np.asarray(value) for value in ReferenceEvaluator(single).run(None, inputs)]


def _type_of(value: np.ndarray) -> onnx.TypeProto:
    return onnx.helper.make_tensor_type_proto(
        onnx.helper.np_dtype_to_tensor_dtype(value.dtype), list(value.shape)
    )


def drop_whole_slices(model: onnx.ModelProto) -> None:
    """Take out slices from the first element to the last, which indexing like `x[:, 1:]` leaves; in place."""
    graph = model.graph
    constants = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    outputs = {item.name for item in graph.output}
    alias: dict[str, str] = {}
    kept = []
    for node in graph.node:
        node.input[:] = [alias.get(name, name) for name in node.input]
        if _takes_all(node, constants) and node.output[0] not in outputs:
            alias[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
    _drop_unused(graph)


def _takes_all(node: onnx.NodeProto, constants: dict[str, np.ndarray]) -> bool:
    if node.op_type != "Slice" or not all(name in constants for name in node.input[1:]):
        return False
    start, stop, *rest = (constants[name] for name in node.input[1:])
    steps = rest[1] if len(rest) > 1 else np.ones(1)
    return bool((start == 0).all() and (stop == np.iinfo(np.int64).max).all() and (steps == 1).all())


def _drop_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input} | {item.name for item in graph.output}
    kept = [item for item in graph.initializer if item.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def name_after_modules(model: onnx.ModelProto, root: str) -> None:
    """Name nodes and values after the module that made them, e.g. `layers.0.mixer/SelectiveScan_1`; in place.

    `root` is the attribute of the exported wrapper that holds the model; it is left out of all names, so that
    weights have the names they have in a checkpoint. Graph inputs and outputs keep theirs.
    """
    graph = model.graph
    kept = {item.name for item in [*graph.input, *graph.output]}
    renamed = {item.name: item.name.removeprefix(f"{root}.") for item in graph.initializer}
    folded = {old for old, new in renamed.items() if old == new}
    seen: Counter[str] = Counter()
    module_of: dict[str, str] = {}
    for node in graph.node:
        # The exporter's own helper nodes carry no trace: they belong where their input comes from.
        module = _module_of(node, root)
        if module is None:
            module = next((module_of[name] for name in node.input if name in module_of), "")
        module_of.update(dict.fromkeys(node.output, module))
        base = f"{module or root}/{node.op_type}"
        seen[base] += 1
        node.name = base if seen[base] == 1 else f"{base}_{seen[base] - 1}"
        for index, output in enumerate(node.output):
            if output not in kept:
                renamed[output] = node.name if index == 0 else f"{node.name}:{index}"
        for index, name in enumerate(node.input):
            if name in folded and renamed[name] == name:
                renamed[name] = f"{node.name}/constant{index}"
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
    for item in [*graph.initializer, *graph.value_info]:
        item.name = renamed.get(item.name, item.name)


def _module_of(node: onnx.NodeProto, root: str) -> str | None:
    """The module's path below `root`, "" for the root itself, None where the exporter left no trace."""
    for item in node.metadata_props:
        if item.key == _SCOPES:
            scopes = [str(scope) for scope in ast.literal_eval(item.value)]
            modules = [scope for scope in scopes if scope.startswith(f"{root}.")]
            return modules[-1].removeprefix(f"{root}.") if modules else ""
    return None


def tidy(model: onnx.ModelProto, open_dimension: str) -> None:
    """Drop what only the exporter needs (its traces); name the open dimension; in place."""
    graph = model.graph
    graph.name = "vision_mamba"
    for item in [*graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info]:
        del item.metadata_props[:]
        item.doc_string = ""
    del graph.metadata_props[:]
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_param = open_dimension
