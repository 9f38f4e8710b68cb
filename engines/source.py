"""Reading an untrusted ONNX file: everything that can be checked is checked before a runtime loads it."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vim_deploy.engines.manifest import FileRecord, read_metadata
from vim_deploy.engines.tensors import TensorSpec
from vim_deploy.errors import EngineError
from vim_deploy.files import sha256_of
from vim_deploy.metadata import ModelMetadata
from vim_deploy.ops.signature import CONTRACT_VERSION, OP_DOMAIN, OP_NAME
from vim_deploy.tasks.registry import TASKS

if TYPE_CHECKING:
    import onnx

MAX_BYTES = (1 << 31) - 1  # the largest size of an ONNX file
INPUT = "pixels"
_STANDARD_DOMAINS = ("", "ai.onnx")
# Operators whose nodes name a file of compiled code to load.
_LOADING_OPERATORS = ("EPContext",)
MAX_ELEMENTS = 1 << 29  # of an input or output with fixed sizes
MAX_CLASSES = 1_000_000


@dataclass(frozen=True)
class SourceModel:
    """A checked ONNX file."""

    record: FileRecord
    data: bytes
    props: dict[str, str]
    metadata: ModelMetadata
    input: TensorSpec
    outputs: tuple[TensorSpec, ...]
    uses_operator: bool


def read_source(path: str | os.PathLike[str]) -> SourceModel:
    """Read and check a file written by vim-export. Raises EngineError that says what is wrong."""
    import onnx

    name = os.fspath(path)
    data = _read_bytes(name)
    model = _parsed(name, data)
    nodes = list(_nodes(model))
    _check_tensors(name, model, nodes, len(data))
    _check_operators(name, model, nodes)
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:  # ValueError: names that are not UTF-8
        raise EngineError(f"{name} is not valid ONNX: {_first_line(error)} Export the model again.") from None
    props = {prop.key: prop.value for prop in model.metadata_props}
    metadata = read_metadata(props, name)
    inputs, outputs = _specs(name, model.graph)
    check_interface(name, metadata, inputs, outputs)
    return SourceModel(
        record=FileRecord(Path(name).name, sha256_of(data), len(data)),
        data=data,
        props=props,
        metadata=metadata,
        input=inputs[0],
        outputs=outputs,
        uses_operator=any(node.domain == OP_DOMAIN for node in nodes),
    )


def check_payload(name: str, data: bytes, domains: Sequence[str]) -> None:
    """Raises EngineError for an ONNX payload that would make the runtime load other files or operators.

    `domains`: the operator domains that it may use, besides ONNX's and ours.
    """
    allowed = (*_STANDARD_DOMAINS, OP_DOMAIN, *domains)
    model = _parsed(name, data)
    nodes = list(_nodes(model))
    _check_tensors(name, model, nodes, len(data))
    for node in nodes:
        if node.domain not in allowed or node.op_type in _LOADING_OPERATORS:
            raise EngineError(
                f"{name}: the payload uses the operator {node.domain}::{node.op_type}, which vim-build does "
                "not write; the engine was edited. Build it again."
            )


def _parsed(name: str, data: bytes) -> onnx.ModelProto:
    import onnx

    try:
        return onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's DecodeError has moved between versions
        raise EngineError(
            f"{name} is not an ONNX file, or is truncated ({error}); export the model again."
        ) from None


def _read_bytes(name: str) -> bytes:
    try:
        status = Path(name).stat()
        if not stat.S_ISREG(status.st_mode):
            raise EngineError(f"{name} is not a regular file; give an ONNX file made by vim-export.")
        if status.st_size > MAX_BYTES:
            raise EngineError(f"{name} has {status.st_size} bytes; an ONNX file has at most {MAX_BYTES}.")
        return Path(name).read_bytes()
    except OSError as error:
        raise EngineError(f"{name} cannot be read: {error.strerror or error}.") from None


def _nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """All nodes, including those of functions and subgraphs."""
    pending = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    while pending:
        node = pending.pop()
        yield node
        for attribute in node.attribute:
            pending += attribute.g.node
            for graph in attribute.graphs:
                pending += graph.node


def _tensors(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    yield from model.graph.initializer
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for graph in (attribute.g, *attribute.graphs):
                yield from graph.initializer


def _check_tensors(name: str, model: onnx.ModelProto, nodes: list[onnx.NodeProto], size: int) -> None:
    import onnx

    known = onnx.helper.get_all_tensor_dtypes()
    if model.graph.sparse_initializer:
        raise EngineError(
            f"{name} has sparse tensors, which vim-export does not write. Export the model again."
        )
    for tensor in _tensors(model, nodes):
        if tensor.external_data or tensor.data_location:
            places = [entry.value for entry in tensor.external_data if entry.key == "location"]
            raise EngineError(
                f""
                f"{name}: tensor {tensor.name!r} is stored in another file "
                f"({', '.join(places) or 'unnamed'}); expected one self-contained file, as vim-export writes."
            )
        if tensor.data_type not in known:
            raise EngineError(
                f"{name}: tensor {tensor.name!r} has the element type {tensor.data_type}, which is not "
                "an ONNX type; the file was edited or damaged."
            )
        # The smallest element has 4 bits.
        if any(side < 0 for side in tensor.dims) or math.prod(tensor.dims) > 2 * size:
            raise EngineError(
                f"{name}: tensor {tensor.name!r} has shape {list(tensor.dims)}, larger than the "
                "file; the file was edited or damaged."
            )


def _check_operators(name: str, model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    for node in nodes:
        if node.domain in _STANDARD_DOMAINS or (node.domain, node.op_type) == (OP_DOMAIN, OP_NAME):
            continue
        raise EngineError(
            f"{name} uses the unknown operator {node.domain}::{node.op_type}; expected operators of ONNX and "
            f"{OP_DOMAIN}::{OP_NAME}."
        )
    versions = {entry.version for entry in model.opset_import if entry.domain == OP_DOMAIN}
    if versions - {CONTRACT_VERSION}:
        raise EngineError(
            f"{name} needs version {max(versions)} of {OP_DOMAIN}::{OP_NAME}; this vim-deploy has version "
            f"{CONTRACT_VERSION}. Export the model again, or install the vim-deploy that wrote it."
        )


def _specs(name: str, graph: onnx.GraphProto) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    import onnx

    initialized = {tensor.name for tensor in graph.initializer}

    def spec(value: onnx.ValueInfoProto) -> TensorSpec:
        tensor = value.type.tensor_type
        if tensor.elem_type not in onnx.helper.get_all_tensor_dtypes():
            raise EngineError(
                f"{name}: {value.name!r} is not a tensor; expected a file written by vim-export."
            )
        shape = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim)
        return TensorSpec(value.name, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name, shape)

    inputs = tuple(spec(value) for value in graph.input if value.name not in initialized)
    return inputs, tuple(spec(value) for value in graph.output)


def check_interface(
    name: str, metadata: ModelMetadata, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
) -> None:
    """Raises EngineError for inputs and outputs that do not fit the metadata or are too large."""
    for spec in (*inputs, *outputs):
        sides = [1 if side is None else side for side in spec.shape]
        if min(sides, default=1) < 1 or math.prod(sides) > MAX_ELEMENTS:
            raise EngineError(
                f"{name}: {spec.name!r} has shape {spec.shape}; expected 1 to {MAX_ELEMENTS} elements."
            )
    if [(spec.name, spec.dtype, len(spec.shape)) for spec in inputs] != [(INPUT, "float32", 4)]:
        raise EngineError(
            f"{name} has inputs {[spec.name for spec in inputs]}; expected one, {INPUT!r}, float32 "
            "(batch, channels, height, width)."
        )
    task = TASKS.get(metadata.task)
    names, expected = [spec.name for spec in outputs], task.outputs
    if not set(expected) <= set(names):
        raise EngineError(f"{name} has outputs {names}; expected {list(expected)} for {metadata.task}.")
    preprocessing = metadata.preprocessing
    if preprocessing.channels * math.prod(preprocessing.image_size) > MAX_ELEMENTS:
        raise EngineError(
            f"{name}: an input of {preprocessing.channels} x {preprocessing.image_size} is more than "
            f"{MAX_ELEMENTS} elements."
        )
    expected_sides = (preprocessing.channels, *preprocessing.image_size)
    for given, side in zip(inputs[0].shape[1:], expected_sides, strict=True):
        if given not in (None, side):
            raise EngineError(
                f"{name}: the input has shape {inputs[0].shape[1:]}, but the metadata's preprocessing gives "
                f"{expected_sides}; export the model again."
            )
    if task.class_axis is not None:
        (primary,) = (spec for spec in outputs if spec.name == task.primary_output)
        _check_classes(name, primary.shape[task.class_axis] if primary.shape[1:] else None, metadata)
    if task.check is not None:
        task.check(name, metadata.config, metadata.class_names)


def _check_classes(name: str, classes: int | None, metadata: ModelMetadata) -> None:
    if classes is None:
        return
    if classes > MAX_CLASSES:
        raise EngineError(f"{name} has {classes} logits; expected at most {MAX_CLASSES}.")
    if metadata.class_names is not None and len(metadata.class_names) != classes:
        raise EngineError(
            f"{name} has {classes} logits and {len(metadata.class_names)} class names; export it again."
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
