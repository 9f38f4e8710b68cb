"""Reading an untrusted ONNX file: everything that can be checked is checked before a runtime loads it."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vim_deploy.engines.graph_check import check_graph, check_sizes, check_values, first_line, parse_model
from vim_deploy.engines.manifest import FileRecord, read_metadata
from vim_deploy.engines.selfcheck import example_shapes
from vim_deploy.engines.tensors import MAX_ELEMENTS, NUMBERS, TensorSpec
from vim_deploy.errors import EngineError, os_errors
from vim_deploy.files import ZIP_SIGNATURE, open_regular, sha256_of
from vim_deploy.metadata import ModelMetadata
from vim_deploy.ops.signature import CONTRACT_VERSION, OP_DOMAIN, OP_NAME
from vim_deploy.precision import Precision
from vim_deploy.tasks.registry import TASKS
from vim_deploy.text import by

if TYPE_CHECKING:
    import onnx

MAX_BYTES = (1 << 31) - 1  # the largest size of an ONNX file
INPUT = "pixels"
MAX_CLASSES = 1_000_000


@dataclass(frozen=True)
class SourceModel:
    """A checked ONNX file."""

    record: FileRecord
    data: bytes
    props: dict[str, str]
    metadata: ModelMetadata
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    uses_operator: bool

    @property
    def input(self) -> TensorSpec:
        """The first input, the only one of a model for images."""
        return self.inputs[0]


def read_source(path: str | os.PathLike[str]) -> SourceModel:
    """Read and check a file written by vim-export. Raises EngineError that says what is wrong."""
    import onnx

    name = os.fspath(path)
    data = _read_bytes(name)
    if data.startswith(ZIP_SIGNATURE):
        raise EngineError(
            f"{name} is a zip file, such as an engine or a checkpoint; give the ONNX file that vim-export "
            "wrote."
        )
    model = parse_model(name, data)
    _check_contract(name, model)
    check_graph(name, model, len(data))
    check_values(name, model)
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:  # ValueError: names that are not UTF-8
        raise EngineError(f"{name} is not valid ONNX: {first_line(error)} Export the model again.") from None
    props = {prop.key: prop.value for prop in model.metadata_props}
    metadata = read_metadata(props, name)
    inputs, outputs = _specs(name, model.graph)
    check_interface(name, metadata, inputs, outputs)
    check_sizes(name, model, example_shapes(inputs, metadata, name))
    return SourceModel(
        record=FileRecord(Path(name).name, sha256_of(data), len(data)),
        data=data,
        props=props,
        metadata=metadata,
        inputs=inputs,
        outputs=outputs,
        uses_operator=any(node.domain == OP_DOMAIN for node in model.graph.node),
    )


def _read_bytes(name: str) -> bytes:
    with os_errors(EngineError, f"{name} cannot be read"), open_regular(name) as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_BYTES:
            raise EngineError(f"{name} has {size} bytes; an ONNX file has at most {MAX_BYTES}.")
        return file.read(size)  # a larger number would be allocated


def _check_contract(name: str, model: onnx.ModelProto) -> None:
    versions = {entry.version for entry in model.opset_import if entry.domain == OP_DOMAIN}
    if versions - {CONTRACT_VERSION}:
        raise EngineError(
            f"{name} needs version {max(versions)} of {OP_DOMAIN}::{OP_NAME}; this vim-deploy has version "
            f"{CONTRACT_VERSION}. Export the model again: {_export_command(name, model)}; or install the "
            "vim-deploy that wrote it."
        )


def _export_command(name: str, model: onnx.ModelProto) -> str:
    """The command that exports the file again, as far as its metadata has the options."""
    try:
        metadata = read_metadata({prop.key: prop.value for prop in model.metadata_props}, name)
    except EngineError:
        return f"vim-export MODEL --checkpoint FILE -o {shlex.quote(name)}"
    origin = metadata.checkpoint.get("source")
    words = ["vim-export", metadata.variant]
    if origin != "synthetic":
        words += ["--checkpoint", str(origin)]
    words += ["--task", metadata.task]
    if not TASKS.get(metadata.task).arrays:
        words += ["--image-size", by(metadata.preprocessing.image_size)]
    if metadata.precision != Precision.FP32:
        words += ["--precision", metadata.precision]
    return " ".join(shlex.quote(word[:200]) for word in [*words, "-o", name])


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
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
        if dtype not in NUMBERS:
            raise EngineError(f"{name}: {value.name!r} has elements of type {dtype}; expected numbers.")
        return TensorSpec(value.name, dtype, shape)

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
    task = TASKS.get(metadata.task)
    if task.arrays:
        _check_arrays(name, inputs, outputs)
        return
    if [(spec.name, spec.dtype, len(spec.shape)) for spec in inputs] != [(INPUT, "float32", 4)]:
        raise EngineError(
            f"{name} has inputs {[spec.name for spec in inputs]}; expected one, {INPUT!r}, float32 "
            "(batch, channels, height, width)."
        )
    names, expected = [spec.name for spec in outputs], task.outputs
    if not set(expected) <= set(names) or len(set(names)) != len(names):
        raise EngineError(f"{name} has outputs {names}; expected {list(expected)} for {metadata.task}.")
    (primary,) = (spec for spec in outputs if spec.name == task.primary_output)
    if primary.dtype != "float32":
        raise EngineError(f"{name}: {primary.name!r} has the type {primary.dtype}; expected float32.")
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
        if len(primary.shape) < 2:
            raise EngineError(
                f"{name}: {primary.name!r} has shape {primary.shape}; expected an axis for images and one "
                "for classes."
            )
        _check_classes(name, primary.shape[task.class_axis], metadata)
    if task.check is not None:
        task.check(name, metadata.config, metadata.class_names)


def _check_arrays(name: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
    names = [spec.name for spec in (*inputs, *outputs)]
    if not inputs or not outputs or len(set(names)) != len(names):
        raise EngineError(
            f"{name} has inputs and outputs {names}; expected at least one of each, with different names."
        )


def _check_classes(name: str, classes: int | None, metadata: ModelMetadata) -> None:
    if classes is None:
        return
    if classes > MAX_CLASSES:
        raise EngineError(f"{name} has {classes} logits; expected at most {MAX_CLASSES}.")
    if metadata.class_names is not None and len(metadata.class_names) != classes:
        raise EngineError(
            f"{name} has {classes} logits and {len(metadata.class_names)} class names; export it again."
        )
