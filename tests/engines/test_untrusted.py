"""Engines with valid hashes and invalid content."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image
from small_engines import save_and_build
from small_onnx import color_model, metadata, save

from vim_deploy import load
from vim_deploy.engines.container import read_engine, read_manifest, write_engine
from vim_deploy.engines.manifest import FileRecord, Manifest
from vim_deploy.engines.payload import Payload
from vim_deploy.engines.source import read_source
from vim_deploy.engines.tensors import TensorSpec
from vim_deploy.errors import EngineError
from vim_deploy.files import sha256_of


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    path = tmp_path / "colors.engine"
    save_and_build(color_model(), tmp_path / "colors.onnx", path)
    return path


def forged(engine: Path, payload: bytes | None = None, name: str | None = None, **changes: Any) -> Path:
    """The engine with changed content and valid hashes; `name`: of the payload."""
    manifest, before = read_engine(engine)
    content = before if payload is None else Payload(payload)
    record = FileRecord(name or manifest.payload.name, content.sha256, content.bytes)
    write_engine(engine, dataclasses.replace(manifest, **{"payload": record, **changes}), content)
    return engine


def hashed(values: dict[str, Any]) -> bytes:
    """A manifest with these values and a valid hash."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return json.dumps({**values, "self_hash": sha256_of(text.encode())}).encode()


def edited(engine: Path, change: Any) -> bytes:
    model = onnx.load_model_from_string(read_engine(engine)[1].data)
    change(model)
    return model.SerializeToString()


def _external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret")


def _gigantic(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [1 << 40]


def _unknown(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.example"


def _loading(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("EPContext", [], ["x"], domain="com.microsoft"))


def _function(model: onnx.ModelProto) -> None:
    node = helper.make_node("Other", [], ["y"], domain="vim_deploy")
    model.functions.append(onnx.FunctionProto(domain="vim_deploy", name="Other", node=[node]))


def _gigantic_result(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(helper.make_tensor("shape", TensorProto.INT64, [1], [1 << 34]))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["shape"], ["filled"]))


@pytest.mark.parametrize("name", ["model.onnx", "model.bin"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_external, r"another file \(../../secret\)"),
        (_gigantic, "larger than the file"),
        (_unknown, "operator com.example::"),
        (_loading, "EPContext"),
        (_function, "defines the function"),
        (_gigantic_result, "has the sizes"),
    ],
)
def test_payloads_are_checked_before_the_runtime_loads_them(engine, change, message, name):
    with pytest.raises(EngineError, match=message):
        load(forged(engine, edited(engine, change), name))


def test_payloads_in_the_runtimes_own_format_are_not_loaded(engine):
    """The first one is also valid ONNX: its bytes 4 to 8 are the identifier of the runtime's format."""
    payload = b"\x12\x06xxORTM" + read_engine(engine)[1].data
    load(forged(engine, payload)).close()
    with pytest.raises(EngineError, match="is not an ONNX file"):
        load(forged(engine, b"\x08\0\0\0ORTM" + bytes(100), "model.bin"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": FileRecord("../../etc/passwd", "", 0)}, "is not a file name"),
        ({"source": FileRecord("a\nb", "", 0)}, "is not a file name"),
        ({"inputs": (TensorSpec("pixels", "float32", (1 << 40, 3, 8, 8)),)}, "elements"),
        ({"inputs": (TensorSpec("pixels", "float32", (None, 3, 9, 9)),)}, "preprocessing gives"),
        ({"inputs": (TensorSpec("other", "float32", (None, 3, 8, 8)),)}, "has inputs"),
        ({"outputs": (TensorSpec("logits", "float32", (None, 1 << 28)),)}, "logits"),
        ({"outputs": ()}, r"expected \['logits'\]"),
        ({"outputs": (TensorSpec("logits", "float32", (None, 3)),) * 2}, r"expected \['logits'\]"),
        ({"outputs": (TensorSpec("logits", "int64", (None, 3)),)}, "has the type int64; expected float32"),
    ],
)
def test_manifests_with_valid_hashes_are_checked(engine, changes, message):
    with pytest.raises(EngineError, match=message):
        load(forged(engine, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backend": "abacus"}, "unknown backend 'abacus'"),
        ({"precision": "int4"}, "'int4' is not a valid Precision"),
        ({"options": {"device": "abacus"}}, "device is 'abacus'; expected one of cpu, cuda"),
        ({"options": {"threads": 1 << 40}}, "threads is"),
        ({"options": {"threads": "many"}}, "threads is"),
        ({"options": {"use_library": 1}}, "use_library is 1; expected true or false"),
        ({"options": {"unknown": 1}}, "unexpected keyword argument"),
        ({"format": True}, "format is True"),
        ({"format": 2.0}, r"format is 2\.0"),
        ({"self_check": {"max_relative_diff": "0"}}, "max_relative_diff is '0'"),
        ({"outputs": [{"name": "logits", "dtype": "object", "shape": [None, 3]}]}, "of type 'object'"),
        ({"outputs": [{"name": 1, "dtype": "float32", "shape": [None, 3]}]}, "tensor 1"),
        ({"outputs": [{"name": "logits", "dtype": "float32", "shape": ""}]}, "shape ''"),
    ],
)
def test_values_that_no_build_records_are_refused(engine, changes, message):
    values = read_manifest(engine).to_dict()
    Manifest.from_json(hashed(values), "x")
    with pytest.raises(EngineError, match=message):
        Manifest.from_json(hashed({**values, **changes}), "x")


def test_an_engine_of_an_earlier_format_is_refused_with_the_command_that_builds_it_again(engine):
    """Format 4 had `offsets` instead of `tensors`."""
    values = read_manifest(engine).to_dict()
    del values["tensors"]
    with pytest.raises(EngineError, match=r"format is 4; .* reads 5\. .*: vim-build colors\.onnx -o x\."):
        Manifest.from_json(hashed({**values, "format": 4, "offsets": {"table": 0}}), "x")


def test_outputs_that_differ_from_the_manifest_are_refused(engine):
    names = tuple(f"class {index}" for index in range(7))
    promised = (TensorSpec("logits", "float32", (None, 7)),)
    path = forged(engine, metadata=metadata(class_names=names).to_props(), outputs=promised)
    with load(path) as opened, pytest.raises(EngineError, match=r"shape \(1, 3\)"):
        opened.predict(Image.new("RGB", (5, 5)))


def test_outputs_without_an_axis_for_classes_are_refused(engine):
    path = forged(engine, outputs=(TensorSpec("logits", "float32", ()),))
    with pytest.raises(EngineError, match=r"'logits' has shape \(\); expected an axis for images"):
        load(path)


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31m", "\u2028", "x" * 5000, "\ud800", "\u202egnp"])
def test_class_names_that_cannot_be_printed_are_refused(tmp_path, name):
    model = color_model()
    helper.set_model_props(model, metadata(class_names=("a", "b", name)).to_props())
    with pytest.raises(EngineError, match="class name"):
        read_source(save(model, tmp_path / "model.onnx"))


def test_names_that_are_not_utf8_are_refused(tmp_path):
    path = save(color_model(), tmp_path / "model.onnx")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"mean", b"m\xcc\xcan"))
    with pytest.raises(EngineError):
        read_source(path)


def test_nested_metadata_is_refused(tmp_path):
    model = color_model()
    helper.set_model_props(model, {**metadata().to_props(), "vim_deploy.config": "[" * 100_000})
    with pytest.raises(EngineError, match="unusable metadata"):
        read_source(save(model, tmp_path / "model.onnx"))


@pytest.mark.parametrize("size", [16384, 16383])
def test_too_large_inputs_are_refused(tmp_path, size):
    from vim_deploy.data.preprocess import Preprocessing

    model = color_model()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "h"
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_param = "w"
    about = metadata(preprocessing=Preprocessing((size, size), 1.0, (0.0,) * 3, (1.0,) * 3))
    helper.set_model_props(model, about.to_props())
    with pytest.raises(EngineError, match="more than"):
        read_source(save(model, tmp_path / "model.onnx"))
