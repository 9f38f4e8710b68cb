"""Weights in an engine file: where they are stored, and files that were edited."""

from __future__ import annotations

import dataclasses
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
from vim_deploy.engines.container import WEIGHTS_NAME, read_engine, read_manifest, write_engine
from vim_deploy.engines.manifest import FileRecord
from vim_deploy.engines.payload import ALIGNMENT, Payload
from vim_deploy.engines.stored_tensors import split_weights
from vim_deploy.errors import EngineError

pytest.importorskip("onnxruntime", reason="building engines needs onnxruntime")


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VIM_DEPLOY_CACHE", str(tmp_path / "cache"))
    return built()


def test_weights_are_stored_apart_uncompressed_and_aligned(engine):
    manifest, payload = read_engine(engine)
    assert manifest.offsets == {"table": 0} and len(payload.weights) == 4 * ROWS * 200_000
    assert len(payload.data) < 10_000
    content = engine.read_bytes()
    assert content.find(bytes(payload.weights)) % 4096 == 0
    assert (manifest.payload.bytes, manifest.payload.sha256) == (payload.bytes, payload.sha256)
    assert not onnx.load_model_from_string(payload.data).graph.initializer[0].external_data


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
    assert set(payload.offsets) == {"a", "b", "c", "d"}
    assert all(offset % ALIGNMENT == 0 for offset in payload.offsets.values())
    for name in ("a", "b", "c"):
        stored = np.frombuffer(payload.weights, values[name].dtype, len(values[name]), payload.offsets[name])
        np.testing.assert_array_equal(stored, values[name])
    assert np.frombuffer(payload.weights, np.uint16, 600, payload.offsets["d"]).tolist() == [0x3FC0] * 600


def forged(engine: Path, content: Payload | None = None, **changes: Any) -> Path:
    """The engine with changed content and valid hashes."""
    manifest, before = read_engine(engine)
    content = content or before
    record = FileRecord(manifest.payload.name, content.sha256, content.bytes)
    write_engine(engine, dataclasses.replace(manifest, **{"payload": record, **changes}), content)
    return engine


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ({"table": -64}, "where it does not fit"),
        ({"table": 1}, "where it does not fit"),
        ({"table": 64}, "where it does not fit"),
        ({"table": 1 << 70}, "where it does not fit"),
        ({"other": 0}, r"which tensors are in the weights: \['other', 'table'\]"),
        ({"table": 0, "mean": 0}, r"which tensors are in the weights: \['mean'\]"),
        ({}, "contains"),
    ],
)
def test_offsets_that_do_not_fit_are_refused(engine, offsets, message):
    with pytest.raises(EngineError, match=message):
        load(forged(engine, offsets=offsets))


def _changed(payload: Payload, change: Callable[[onnx.TensorProto], None]) -> Payload:
    model = onnx.load_model_from_string(payload.data)
    change(model.graph.initializer[0])
    return Payload(model.SerializeToString(), payload.weights, payload.offsets)


def _larger(tensor: onnx.TensorProto) -> None:
    tensor.dims[0] += 1


def _negative(tensor: onnx.TensorProto) -> None:
    tensor.dims[:] = [-3, -200_000]


def _of_strings(tensor: onnx.TensorProto) -> None:
    tensor.data_type = TensorProto.STRING


def _external(tensor: onnx.TensorProto) -> None:
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_larger, "where it does not fit"),
        (_negative, "larger than the file"),
        (_of_strings, "where it does not fit"),
        (_external, r"another file \(/etc/passwd\)"),
    ],
)
def test_graphs_that_do_not_fit_the_weights_are_refused(engine, change, message):
    payload = read_engine(engine)[1]
    with pytest.raises(EngineError, match=message):
        load(forged(engine, _changed(payload, change)))


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
