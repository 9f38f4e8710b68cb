"""The inputs and outputs of modules in an exported graph, whose nodes are named after their modules."""

from __future__ import annotations

from collections.abc import Collection

import onnx

from vim_deploy.errors import ExportError
from vim_deploy.onnx_graph.index import GraphIndex


def module_output(graph: GraphIndex, module: str, ignored: Collection[str] = ()) -> str:
    """The one value that a module computes and that is used outside of it, except those to be ignored.

    Raises ExportError.
    """
    inside = {name for node in graph.nodes if _is_in(node, module) for name in node.output}
    used = {name for node in graph.nodes if not _is_in(node, module) for name in node.input}
    return _only((inside & (used | graph.outputs)).difference(ignored), f"outputs of {module}")


def module_input(
    graph: GraphIndex, module: str, ignored: Collection[str] = (), given: Collection[str] = ()
) -> str:
    """The one value that a module uses and that is computed outside of it or one of the graph inputs `given`,
    except those to be ignored. Raises ExportError.
    """
    used = {name for node in graph.nodes if _is_in(node, module) for name in node.input}
    outside = {name for name, node in graph.producers.items() if not _is_in(node, module)}
    return _only((used & outside.union(given)).difference(ignored), f"inputs of {module}")


def has_module(graph: GraphIndex, module: str) -> bool:
    """Whether a module has nodes. One that returns its input has none."""
    return any(_is_in(node, module) for node in graph.nodes)


def nodes_of(graph: GraphIndex, module: str, op_type: str) -> list[onnx.NodeProto]:
    """The nodes of this operator in the module itself, without those in modules inside of it, in order."""
    return [node for node in graph.nodes if node.op_type == op_type and node.name.startswith(f"{module}/")]


def _is_in(node: onnx.NodeProto, module: str) -> bool:
    return bool(node.name.startswith((f"{module}/", f"{module}.")))


def _only(found: set[str], what: str) -> str:
    if len(found) != 1:
        raise ExportError(
            f"{what} in the graph: {sorted(found)[:5]}; expected one. Export the file again with "
            "this version."
        )
    return next(iter(found))
