"""Mutations that keep hashes correct and protobuf parseable."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import random
import zipfile
from collections.abc import Callable
from typing import Any

import onnx
from mutate import mutate

NUMBERS = (0, 1, -1, 2, 7, 255, 1 << 15, (1 << 31) - 1, 1 << 31, 1 << 40, (1 << 62) + 1, -(1 << 62))
TEXTS = (
    "",
    "x",
    "../../etc/passwd",
    "/etc/passwd",
    "\x00",
    "\ud800",
    "a" * 5000,
    "=1+1",
    "[" * 5000,
    "1e999",
)
VALUES = (None, True, [], {}, [[]], 1.5, -1, 1 << 70, *TEXTS)


def case(sources: list[bytes], models: int, generator: random.Random) -> tuple[str, bytes]:
    """The kind of a mutation and its result; the first `models` sources are ONNX files, then engines."""
    index = generator.randrange(models)
    model, engine = sources[index], sources[models + index]
    kind = generator.choice(("onnx bytes", "onnx graph", "onnx metadata", "engine bytes", "engine content"))
    if kind == "onnx bytes":
        return kind, mutate(model, generator, engine)
    if kind == "onnx graph":
        return kind, _edited(model, generator, _GRAPH_EDITS)
    if kind == "onnx metadata":
        return kind, _edited(model, generator, (_edit_metadata,))
    if kind == "engine bytes":
        return kind, mutate(engine, generator, model)
    return kind, _edited_engine(engine, generator)


_Edit = Callable[[onnx.ModelProto, random.Random], None]


def _edited(data: bytes, generator: random.Random, edits: tuple[_Edit, ...]) -> bytes:
    model = onnx.load_model_from_string(data)
    for _ in range(generator.choice((1, 1, 2, 3))):
        # A previous edit can make the file unreadable for the next.
        with contextlib.suppress(ValueError, TypeError, IndexError, RecursionError):
            generator.choice(edits)(model, generator)
    return model.SerializeToString()


def _any_node(model: onnx.ModelProto, generator: random.Random) -> onnx.NodeProto:
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    return generator.choice(nodes)


def _edit_dims(model: onnx.ModelProto, generator: random.Random) -> None:
    tensor = generator.choice(list(model.graph.initializer))
    tensor.dims[:] = [generator.choice(NUMBERS) for _ in range(generator.randrange(5))]


def _edit_integers(model: onnx.ModelProto, generator: random.Random) -> None:
    tensors = [entry for entry in model.graph.initializer if entry.data_type == onnx.TensorProto.INT64]
    tensors += [
        attribute.t
        for node in model.graph.node
        for attribute in node.attribute
        if attribute.t.data_type == onnx.TensorProto.INT64
    ]
    if not tensors:
        return
    tensor = generator.choice(tensors)
    values = onnx.numpy_helper.to_array(tensor).copy()
    if values.size:
        values.flat[generator.randrange(values.size)] = generator.choice(NUMBERS)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


def _edit_type(model: onnx.ModelProto, generator: random.Random) -> None:
    generator.choice(list(model.graph.initializer)).data_type = generator.randrange(30)


def _edit_operator(model: onnx.ModelProto, generator: random.Random) -> None:
    operators = ("Loop", "ConstantOfShape", "Tile", "Expand", "Resize", "Reshape", "Gather", "Concat", "Pad")
    _any_node(model, generator).op_type = generator.choice((*operators, _any_node(model, generator).op_type))


def _edit_wires(model: onnx.ModelProto, generator: random.Random) -> None:
    node, other = _any_node(model, generator), _any_node(model, generator)
    if node.input and other.output:
        source = generator.choice((*other.output, "", "nowhere", *node.output))
        node.input[generator.randrange(len(node.input))] = source


def _edit_attribute(model: onnx.ModelProto, generator: random.Random) -> None:
    node = _any_node(model, generator)
    name = node.attribute[0].name if node.attribute else "axis"
    del node.attribute[:]
    value: Any = generator.choice((generator.choice(NUMBERS[:10]), [generator.choice(NUMBERS)] * 3, 1.5, "x"))
    node.attribute.append(onnx.helper.make_attribute(name, value))


def _remove_node(model: onnx.ModelProto, generator: random.Random) -> None:
    del model.graph.node[generator.randrange(len(model.graph.node))]
    if not model.graph.node:
        model.graph.node.add(op_type="Identity", input=["pixels"], output=["logits"])


def _repeat_node(model: onnx.ModelProto, generator: random.Random) -> None:
    model.graph.node.append(_any_node(model, generator))


def _edit_interface(model: onnx.ModelProto, generator: random.Random) -> None:
    value = generator.choice([*model.graph.input, *model.graph.output])
    dims = value.type.tensor_type.shape.dim
    if dims:
        dims[generator.randrange(len(dims))].dim_value = generator.choice(NUMBERS)


def _edit_body(model: onnx.ModelProto, generator: random.Random) -> None:
    if model.functions:
        function = generator.choice(list(model.functions))
        generator.choice((function.input, function.output)).append(generator.choice(TEXTS[:3]))


def _edit_external(model: onnx.ModelProto, generator: random.Random) -> None:
    tensor = generator.choice(list(model.graph.initializer))
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=generator.choice(("/etc/passwd", "../x", "x")))


def _edit_metadata(model: onnx.ModelProto, generator: random.Random) -> None:
    prop = generator.choice(list(model.metadata_props))
    if generator.random() < 0.3:
        prop.value = generator.choice([text for text in TEXTS if text.isascii()])
        return
    prop.value = json.dumps(_edited_value(json.loads(prop.value), generator))


def _edited_value(value: Any, generator: random.Random) -> Any:
    """Change one place in a JSON tree."""
    if isinstance(value, dict) and value and generator.random() < 0.8:
        key = generator.choice(sorted(value))
        return {**value, key: _edited_value(value[key], generator)}
    if isinstance(value, list) and value and generator.random() < 0.8:
        place = generator.randrange(len(value))
        return [*value[:place], _edited_value(value[place], generator), *value[place + 1 :]]
    return generator.choice((*VALUES, *NUMBERS))


_GRAPH_EDITS: tuple[_Edit, ...] = (
    _edit_dims,
    _edit_integers,
    _edit_type,
    _edit_operator,
    _edit_wires,
    _edit_attribute,
    _remove_node,
    _repeat_node,
    _edit_interface,
    _edit_body,
    _edit_external,
)


def _edited_engine(data: bytes, generator: random.Random) -> bytes:
    """Edit the manifest or payload and update all hashes, as a deliberate forgery would."""
    from vim_deploy.engines.manifest import Manifest
    from vim_deploy.engines.stored_tensors import WEIGHTS_NAME
    from vim_deploy.files import sha256_of

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        manifest = Manifest.from_json(archive.read("manifest.json"), "seed")
        payload = archive.read(manifest.payload.name)
        weights = archive.read(WEIGHTS_NAME) if manifest.tensors else b""
    values = manifest.to_dict()
    if generator.random() < 0.5:
        edits = _GRAPH_EDITS if generator.random() < 0.7 else None
        payload = _edited(payload, generator, edits) if edits else mutate(payload, generator)
        content = payload + weights
        record = dataclasses.replace(manifest.payload, sha256=sha256_of(content), bytes=len(content))
        values["payload"] = dataclasses.asdict(record)
    else:
        values = _edited_value(values, generator)
        if not isinstance(values, dict):
            values = {"format": values}
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("manifest.json", json.dumps({**values, "self_hash": sha256_of(text.encode())}))
        archive.writestr(manifest.payload.name, payload)
        if weights:
            archive.writestr(WEIGHTS_NAME, weights)
    return file.getvalue()
