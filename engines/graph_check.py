"""Checks of an untrusted ONNX graph, made before a runtime loads it.

A graph must be complete in itself, use known operators and no functions but ours, and have tensors of limited
size. Everything that can contain a tensor or a node is found by walking over all messages of the file.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vim_deploy.engines.tensors import MAX_ELEMENTS
from vim_deploy.errors import EngineError
from vim_deploy.ops.signature import OP_DOMAIN, OP_NAME
from vim_deploy.text import is_printable

if TYPE_CHECKING:
    import onnx

_STANDARD_DOMAINS = ("", "ai.onnx")
# Operators whose nodes name a file of compiled code to load.
_LOADING_OPERATORS = ("EPContext",)
# Their bodies run once per element of an input. Others, such as Loop, can run forever.
_BOUNDED_BODIES = ("Scan",)
# Of constants up to this size the values are used to infer shapes.
_SHAPE_ELEMENTS = 64


def parse_model(name: str, data: bytes) -> onnx.ModelProto:
    """Raises EngineError for anything that is not an ONNX file."""
    import onnx

    try:
        return onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's DecodeError has moved between versions
        raise EngineError(
            f"{name} is not an ONNX file, or is truncated ({error}); export the model again."
        ) from None


def check_graph(name: str, model: onnx.ModelProto, size: int, domains: Sequence[str] = ()) -> None:
    """Check everything that can be checked without the schemas of operators. Raises EngineError.

    `size`: of the file in bytes. `domains`: the operator domains that the model may use, besides ONNX's and
    ours.
    """
    import onnx

    if model.training_info:
        raise _unexpected(name, "training information")
    nodes = []
    for message in _messages(model):
        if isinstance(message, onnx.TensorProto):
            _check_tensor(name, message, size)
        elif isinstance(message, onnx.SparseTensorProto):
            raise _unexpected(name, "sparse tensors")
        elif isinstance(message, onnx.NodeProto):
            nodes.append(message)
    for function in model.functions:
        _check_function(name, function, nodes)
    for node in nodes:
        _check_operator(name, node, domains)
    for node in nodes:
        _check_bodies(name, node)


def check_values(name: str, model: onnx.ModelProto) -> None:
    """Raises EngineError for a tensor whose data do not fit its type and shape.

    Call it after `check_graph`: it would read external data.
    """
    import onnx

    for tensor in _messages(model):
        if not isinstance(tensor, onnx.TensorProto):
            continue
        try:
            onnx.numpy_helper.to_array(tensor)
        except Exception as error:  # the library has many types of errors
            raise EngineError(
                f"{name}: tensor {tensor.name!r} cannot be read: {first_line(error)}. The file was edited or "
                "damaged; export the model again."
            ) from None


def check_sizes(name: str, model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises EngineError if a tensor has more than MAX_ELEMENTS elements for inputs of these shapes.

    Only sizes that follow from the graph are checked, not those that depend on computed values: to propagate
    values, ONNX takes up to 150 bytes for each element of a vector, also of vectors that do not exist in the
    file.
    """
    import onnx

    small = onnx.ModelProto(
        ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions
    )
    graph = small.graph
    graph.name = "sizes"
    graph.node.extend(model.graph.node)
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= _SHAPE_ELEMENTS:
            graph.initializer.append(tensor)
        else:
            graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    for value in model.graph.input:
        if value.name in shapes:
            kind = value.type.tensor_type.elem_type
            value = onnx.helper.make_tensor_value_info(value.name, kind, shapes[value.name])
        graph.input.append(value)
    graph.output.extend(onnx.ValueInfoProto(name=value.name) for value in model.graph.output)
    try:
        inferred = onnx.shape_inference.infer_shapes(small).graph
    except Exception as error:  # the library has many types of errors
        raise EngineError(f"{name} is not valid ONNX: {first_line(error)} Export the model again.") from None
    for value in (*inferred.value_info, *inferred.output):
        sizes = [size.dim_value for size in value.type.tensor_type.shape.dim if size.HasField("dim_value")]
        if math.prod(sizes) > MAX_ELEMENTS or min(sizes, default=0) < 0:
            given = ", ".join(map(str, shapes.values()))
            raise EngineError(
                f"{name}: with inputs of shape {given}, the tensor {value.name!r} has the sizes {sizes}; "
                f"expected at most {MAX_ELEMENTS} elements. The file was edited, or the inputs are too large."
            )


def _messages(model: onnx.ModelProto) -> Iterator[Any]:
    """All messages in the model, wherever they are, except those in tensors and types."""
    import onnx

    leaves = (onnx.TensorProto, onnx.ValueInfoProto, onnx.TypeProto, onnx.StringStringEntryProto)
    pending: list[Any] = [model]
    while pending:
        message = pending.pop()
        yield message
        if isinstance(message, leaves):
            continue
        for field, value in message.ListFields():
            if field.message_type is not None:
                pending += [value] if hasattr(value, "ListFields") else value


def _check_tensor(name: str, tensor: onnx.TensorProto, size: int) -> None:
    if tensor.external_data or tensor.data_location:
        places = [str(entry.value) for entry in tensor.external_data if entry.key == "location"]
        raise EngineError(
            f"{name}: tensor {tensor.name!r} is stored in another file ({', '.join(places) or 'unnamed'}); "
            "expected one self-contained file, as vim-export writes."
        )
    if tensor.data_type not in _known_types():
        raise EngineError(
            f"{name}: tensor {tensor.name!r} has the element type {tensor.data_type}, which is not an ONNX "
            "type; the file was edited or damaged."
        )
    # The smallest element has 4 bits.
    if any(side < 0 for side in tensor.dims) or math.prod(tensor.dims) > 2 * size:
        raise EngineError(
            f"{name}: tensor {tensor.name!r} has shape {list(tensor.dims)}, larger than the file; the file "
            "was edited or damaged."
        )


def _check_function(name: str, function: onnx.FunctionProto, nodes: Sequence[onnx.NodeProto]) -> None:
    scans = [node for node in nodes if _is_scan(node)]
    if function.SerializeToString(deterministic=True) not in _function_bodies(scans, function):
        raise EngineError(
            f"{name} defines the function {function.domain}::{function.name}, which is not the function body "
            f"of {OP_DOMAIN}::{OP_NAME} that this vim-deploy writes for such scans. Export the model again."
        )


def _is_scan(node: onnx.NodeProto) -> bool:
    return (node.domain, node.op_type) == (OP_DOMAIN, OP_NAME)


def _check_operator(name: str, node: onnx.NodeProto, domains: Sequence[str]) -> None:
    if (
        not (_is_scan(node) or node.domain in (*_STANDARD_DOMAINS, *domains))
        or node.op_type in _LOADING_OPERATORS
    ):
        others = "".join(f", {domain}" for domain in domains)
        raise EngineError(
            f"{name} uses the unknown operator {node.domain}::{node.op_type}; expected operators of "
            f"ONNX{others} and {OP_DOMAIN}::{OP_NAME}."
        )
    texts = (node.name, node.op_type, *node.input, *node.output)
    # A name that is not UTF-8 is an object of type bytes.
    if not all(isinstance(text, str) and is_printable(text) for text in texts):
        raise EngineError(
            f"{name}: the node {node.name!r} has a name with characters that cannot be printed; the file was "
            "edited."
        )


def _check_bodies(name: str, node: onnx.NodeProto) -> None:
    bodies = _bodies(node)
    nested = any(_bodies(child) for body in bodies for child in body.node)
    if bodies and (nested or node.op_type not in _BOUNDED_BODIES):
        raise EngineError(
            f"{name}: the node {node.name!r} ({node.op_type}) has a subgraph, whose running time is not "
            f"limited; expected subgraphs only in {', '.join(_BOUNDED_BODIES)}, not nested."
        )


def _bodies(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    return [
        body
        for attribute in node.attribute
        for body in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs)
    ]


def first_line(error: Exception) -> str:
    """The first line of a message, shortened."""
    return str(error).strip().partition("\n")[0][:300]


def _unexpected(name: str, content: str) -> EngineError:
    return EngineError(f"{name} has {content}, which vim-export does not write. Export the model again.")


@functools.cache
def _known_types() -> frozenset[int]:
    import onnx

    return frozenset(onnx.helper.get_all_tensor_dtypes())


def _function_bodies(scans: Sequence[onnx.NodeProto], function: onnx.FunctionProto) -> list[bytes]:
    """The function body that fits the scans, in the opset of `function`, if there is one."""
    from vim_deploy.ops.function_body import body_for

    opset = next((entry.version for entry in function.opset_import if not entry.domain), 0)
    try:
        return [body_for(scans, opset).SerializeToString(deterministic=True)]
    except ValueError:
        return []
