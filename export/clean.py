"""Simplification of exported graphs: folded constants, no redundant nodes, and names of modules."""

from __future__ import annotations

import ast
from collections import Counter

import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes
from onnxscript import optimizer
from onnxscript.rewriter import RewriteRuleSet
from onnxscript.rewriter.rules.common import collapse_slice_rule

from vim_deploy.export.shapes import make_shapes_constant

_SCOPES = "pkg.torch.onnx.name_scopes"
# Their results are larger than their inputs, and only small ones are worth storing.
_EXPANDING = {"ConstantOfShape", "Expand", "Tile"}
_NO_LIMIT = 1 << 62


def simplify(model: ir.Model) -> None:
    """Fold constants and remove redundant nodes, in place.

    Folding transposes weights and computes `A = -exp(A_log)` once, instead of in every run. Indexing like
    `x[:, 1:]` exports slices of whole axes, which are removed. The exporter's own optimizer does more, but
    takes minutes because it tries every rewrite rule on every node.
    """
    optimizer.fold_constants(model, onnx_shape_inference=False)
    optimizer.fold_constants(
        model,
        onnx_shape_inference=False,
        output_size_limit=_NO_LIMIT,
        should_fold=lambda node: node.op_type not in _EXPANDING,
    )
    RewriteRuleSet([collapse_slice_rule]).apply_to_model(model)
    make_shapes_constant(model)
    for apply in (
        passes.IdentityEliminationPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.DeduplicateInitializersPass(),
        passes.RemoveUnusedNodesPass(),
    ):
        apply(model)


def name_after_modules(model: onnx.ModelProto, root: str) -> None:
    """Name nodes and values after their modules, like `layers.0.mixer/SelectiveScan_1`, in place.

    `root`: the attribute of the exported module that contains the model. It is removed from all names, so
    that weights have the names of the checkpoint. Graph inputs and outputs are not renamed. This is our own
    code because onnx_ir only has passes for missing and duplicate names.
    """
    graph = model.graph
    kept = {item.name for item in [*graph.input, *graph.output]}
    renamed = {item.name: item.name.removeprefix(f"{root}.") for item in graph.initializer}
    folded = {old for old, new in renamed.items() if old == new}
    seen: Counter[str] = Counter()
    module_of: dict[str, str] = {}
    for node in graph.node:
        # Helper nodes of the exporter have no scopes: they get the module of their input.
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
    """The path of the node's module relative to `root`, "" for the root itself, None without scopes."""
    for item in node.metadata_props:
        if item.key == _SCOPES:
            scopes = [str(scope) for scope in ast.literal_eval(item.value)]
            modules = [scope for scope in scopes if scope.startswith(f"{root}.")]
            return modules[-1].removeprefix(f"{root}.") if modules else ""
    return None


def tidy(model: onnx.ModelProto, open_dimension: str | None) -> None:
    """Remove the exporter's metadata, and rename the dynamic dimension if there is a name, in place.

    Only outputs of nodes keep their value_info. That of an initializer repeats its shape, and tools that
    replace an initializer by one of another shape, such as quantizers of ONNX Runtime, would fail on the
    contradiction.
    """
    graph = model.graph
    outputs = {name for node in graph.node for name in node.output}
    values = [item for item in graph.value_info if item.name in outputs]
    del graph.value_info[:]
    graph.value_info.extend(values)
    graph.name = "vision_mamba"
    for item in [*graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info]:
        del item.metadata_props[:]
        item.doc_string = ""
    del graph.metadata_props[:]
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param and open_dimension is not None:
                dimension.dim_param = open_dimension
