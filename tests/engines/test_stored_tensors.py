"""Weights in an engine file: where they are stored, and files that were edited."""

from __future__ import annotations

import dataclasses
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from table_engine import ROWS, built

from vim_deploy import load
from vim_deploy.engines.container import read_engine, read_manifest, write_engine
from vim_deploy.engines.manifest import FileRecord
from vim_deploy.engines.onnxruntime import weights
from vim_deploy.engines.onnxruntime.session import make_session
from vim_deploy.engines.payload import ALIGNMENT, ELEMENT_TYPES, Payload, StoredTensor
from vim_deploy.engines.stored_tensors import WEIGHTS_NAME, split_weights
from vim_deploy.errors import EngineError

onnxruntime = pytest.importorskip("onnxruntime", reason="building engines needs onnxruntime")


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VIM_DEPLOY_CACHE", str(tmp_path / "cache"))
    return built()


def test_weights_are_stored_apart_uncompressed_and_aligned(engine):
    manifest, payload = read_engine(engine)
    table = StoredTensor("FLOAT", (ROWS, 200_000), 0)
    assert manifest.tensors == {"table": table} and len(payload.weights) == table.bytes == 4 * ROWS * 200_000
    assert len(payload.data) < 10_000
    content = engine.read_bytes()
    assert content.find(bytes(payload.weights)) % 4096 == 0
    assert (manifest.payload.bytes, manifest.payload.sha256) == (payload.bytes, payload.sha256)


def test_an_unpacked_engine_is_an_onnx_file_with_external_data(engine):
    with zipfile.ZipFile(engine) as archive:
        archive.extractall("unpacked")
    (table,) = (item for item in onnx.load("unpacked/model.onnx").graph.initializer if item.name == "table")
    np.testing.assert_array_equal(numpy_helper.to_array(table)[:, 0], np.arange(1, ROWS + 1))


def test_element_types_are_those_of_onnx():
    for name, element in ELEMENT_TYPES.items():
        assert TensorProto.DataType.Value(name) == element.number
        size = helper.tensor_dtype_to_np_dtype(element.number).itemsize
        assert size == element.bytes


def test_offsets_are_aligned_for_all_types():
    values = {
        "a": np.arange(301, dtype=np.float32),
        "b": np.arange(1027, dtype=np.int8),
        "c": np.arange(600, dtype=np.float16),
        "small": np.arange(3, dtype=np.int64),
    }
    model = onnx.ModelProto(graph=helper.make_graph([], "g", [], []))
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in values.items())
    model.graph.initializer.append(helper.make_tensor("d", TensorProto.BFLOAT16, [600], [1.5] * 600))
    payload = split_weights(model.SerializeToString())
    assert set(payload.tensors) == {"a", "b", "c", "d"}
    assert all(tensor.offset % ALIGNMENT == 0 for tensor in payload.tensors.values())
    assert payload.tensors["d"].type == "BFLOAT16"
    for name in ("a", "b", "c"):
        stored = np.frombuffer(
            payload.weights, values[name].dtype, len(values[name]), payload.tensors[name].offset
        )
        np.testing.assert_array_equal(stored, values[name])
    assert (
        np.frombuffer(payload.weights, np.uint16, 600, payload.tensors["d"].offset).tolist() == [0x3FC0] * 600
    )


def forged(engine: Path, content: Payload | None = None, **changes: Any) -> Path:
    """The engine with changed content and valid hashes."""
    manifest, before = read_engine(engine)
    content = content or before
    record = FileRecord(manifest.payload.name, content.sha256, content.bytes)
    write_engine(engine, dataclasses.replace(manifest, **{"payload": record, **changes}), content)
    return engine


TABLE = StoredTensor("FLOAT", (ROWS, 200_000), 0)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"table": dataclasses.replace(TABLE, offset=1)}, "differs between the manifest and the graph"),
        ({"table": dataclasses.replace(TABLE, offset=64)}, "differs between the manifest and the graph"),
        ({"table": dataclasses.replace(TABLE, type="INT32")}, "differs between the manifest and the graph"),
        ({"table": dataclasses.replace(TABLE, shape=(3, 1))}, "differs between the manifest and the graph"),
        ({"other": TABLE}, "'other' is in the manifest, but not in the graph"),
        ({"table": TABLE, "mean": TABLE}, "'mean' is in the manifest, but not in the graph"),
        ({}, "contains"),
    ],
)
def test_tables_that_do_not_fit_the_graph_are_refused(engine, tensors, message):
    with pytest.raises(EngineError, match=message):
        load(forged(engine, tensors=tensors))


@pytest.mark.parametrize(
    "values",
    [
        {"offset": -64},
        {"offset": True},
        {"offset": 0.0},
        {"shape": [-3, -200_000]},
        {"shape": "3"},
        {"shape": [1] * 33},
        {"type": "STRING"},
        {"type": 1},
    ],
)
def test_tensors_that_no_build_records_are_refused(values):
    StoredTensor.from_dict(TABLE.to_dict())
    with pytest.raises((TypeError, ValueError)):
        StoredTensor.from_dict({**TABLE.to_dict(), **values})


def _at(offset: int) -> Callable[[onnx.TensorProto], dict[str, StoredTensor]]:
    """Moves the tensor, in the graph and in the manifest."""

    def change(tensor: onnx.TensorProto) -> dict[str, StoredTensor]:
        tensor.external_data[1].value = str(offset)
        return {"table": dataclasses.replace(TABLE, offset=offset)}

    return change


def _larger(tensor: onnx.TensorProto) -> dict[str, StoredTensor]:
    tensor.dims[0] += 1
    tensor.external_data[2].value = str(4 * math.prod(tensor.dims))
    return {"table": dataclasses.replace(TABLE, shape=tuple(tensor.dims))}


def _negative(tensor: onnx.TensorProto) -> None:
    tensor.dims[:] = [-3, -200_000]


def _of_strings(tensor: onnx.TensorProto) -> None:
    tensor.data_type = TensorProto.STRING


def _elsewhere(tensor: onnx.TensorProto) -> None:
    tensor.external_data[0].value = "/etc/passwd"


def _twice_located(tensor: onnx.TensorProto) -> None:
    tensor.external_data.add(key="location", value="/etc/passwd")


def _with_values(tensor: onnx.TensorProto) -> None:
    tensor.raw_data = bytes(4 * ROWS * 200_000)


def _without_reference(tensor: onnx.TensorProto) -> None:
    tensor.ClearField("external_data")


def _renamed(tensor: onnx.TensorProto) -> None:
    tensor.name = "other"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_at(1), "the offset 1 in weights of 2400000 bytes, where it does not fit"),
        (_at(64), "where it does not fit"),
        (_at(1 << 70), "where it does not fit"),
        (_larger, "where it does not fit"),
        (_negative, "differs between the manifest and the graph"),
        (_of_strings, "differs between the manifest and the graph"),
        (_elsewhere, "differs between the manifest and the graph"),
        (_twice_located, "differs between the manifest and the graph"),
        (_with_values, "differs between the manifest and the graph"),
        (_without_reference, "differs between the manifest and the graph"),
        (_renamed, "'table' is in the manifest, but not in the graph"),
    ],
)
def test_graphs_that_do_not_fit_the_weights_are_refused(engine, change, message):
    manifest, payload = read_engine(engine)
    model = onnx.load_model_from_string(payload.data)
    tensors = change(model.graph.initializer[0]) or manifest.tensors
    content = Payload(model.SerializeToString(), payload.weights, tensors)
    with pytest.raises(EngineError, match=message):
        load(forged(engine, content, tensors=tensors))


def _add_external(model: onnx.ModelProto) -> str:
    """A tensor that the manifest does not have."""
    tensor = onnx.TensorProto(name="more", data_type=TensorProto.FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    model.graph.initializer.append(tensor)
    return r"'more' is stored in another file \(weights\.bin\)"


def _add_twice(model: onnx.ModelProto) -> str:
    model.graph.initializer.append(model.graph.initializer[0])
    return "differs between the manifest and the graph"


def _add_without_values(model: onnx.ModelProto) -> str:
    model.graph.initializer.add(name="more", data_type=TensorProto.FLOAT, dims=[4])
    return "'more' has no values"


@pytest.mark.parametrize("change", [_add_external, _add_twice, _add_without_values])
def test_other_tensors_without_values_are_refused(engine, change):
    payload = read_engine(engine)[1]
    model = onnx.load_model_from_string(payload.data)
    message = change(model)
    with pytest.raises(EngineError, match=message):
        load(forged(engine, Payload(model.SerializeToString(), payload.weights, payload.tensors)))


def test_a_session_without_the_values_does_not_start(engine):
    """The second barrier: the file that the runtime would read is empty."""
    payload = read_engine(engine)[1]
    with pytest.raises(EngineError, match="does not load"):
        make_session(payload.data)
    options = onnxruntime.SessionOptions()
    folder = Path(weights.__file__).parent
    assert (folder / WEIGHTS_NAME).read_bytes() == b""
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    with pytest.raises(Exception, match="out of bounds"):
        onnxruntime.InferenceSession(payload.data, options, providers=["CPUExecutionProvider"])


def test_a_hash_that_is_no_hash_is_refused(engine):
    """It is the name of the copy."""
    record = FileRecord("model.onnx", "../../x", read_manifest(engine).payload.bytes)
    with pytest.raises(EngineError, match="name or hash of the payload"):
        load(forged(engine, payload=record))


def test_compressed_weights_are_refused(engine):
    with zipfile.ZipFile(engine) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(engine, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data, zipfile.ZIP_DEFLATED if name == WEIGHTS_NAME else zipfile.ZIP_STORED)
    with pytest.raises(EngineError, match=r"weights\.bin is compressed"):
        load(engine)
