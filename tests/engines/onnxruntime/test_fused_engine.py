"""Engines with fused operators: recorded, refused with another version of the library, and optional."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from plugins.native_programs import compiler
from small_onnx import finish, metadata, save

import vim_deploy
from vim_deploy.data.preprocess import Preprocessing
from vim_deploy.engines.build import build_engine
from vim_deploy.engines.fusion.domain import FUSED_VERSION
from vim_deploy.engines.onnxruntime import backend
from vim_deploy.engines.onnxruntime.options import OnnxruntimeOptions
from vim_deploy.errors import EngineError, OperatorLibraryError
from vim_deploy.ops.library import LIBRARY_VARIABLE
from vim_deploy.ops.signature import CONTRACT_VERSION, OP_DOMAIN

pytest.importorskip("onnxruntime", reason="building engines needs onnxruntime")

LENGTH, SIZE = 5, 12


def norm_and_scan():
    """An RMSNorm, and a scan of its result in one direction, which is not fused."""
    generator = np.random.default_rng(0)
    about = metadata(
        preprocessing=Preprocessing((LENGTH, SIZE), 1.0, (0.0,), (1.0,), 1),
        class_names=tuple(f"class {index}" for index in range(LENGTH * SIZE)),
    )
    weights = {
        "axis": np.array([1], np.int64),
        "two": np.array(2, np.float32),
        "epsilon": np.array(1e-5, np.float32),
        "weight": generator.standard_normal(SIZE).astype(np.float32),
        "A": -np.exp(generator.standard_normal((SIZE, SIZE))).astype(np.float32),
        "D": np.ones(SIZE, np.float32),
        "bias": np.zeros(SIZE, np.float32),
        "flat": np.array([-1, LENGTH * SIZE], np.int64),
    }
    scan = {"domain": OP_DOMAIN, "delta_softplus": 1, "reverse": 0, "groups": 1}
    nodes = [
        helper.make_node("Squeeze", ["pixels", "axis"], ["x"]),
        helper.make_node("Pow", ["x", "two"], ["square"]),
        helper.make_node("ReduceMean", ["square"], ["mean"], axes=[-1], keepdims=1),
        helper.make_node("Add", ["mean", "epsilon"], ["shifted"]),
        helper.make_node("Sqrt", ["shifted"], ["root"]),
        helper.make_node("Div", ["x", "root"], ["quotient"]),
        helper.make_node("Mul", ["quotient", "weight"], ["u"]),
        helper.make_node("SelectiveScan", ["u", "u", "A", "u", "u", "D", "x", "bias"], ["y"], **scan),
        helper.make_node("Reshape", ["y", "flat"], ["logits"]),
    ]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 1, LENGTH, SIZE])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", LENGTH * SIZE])
    shapes = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", LENGTH, SIZE])]
    initializers = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "norm", [pixels], [logits], initializers, value_info=shapes)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(OP_DOMAIN, CONTRACT_VERSION)]
    return finish(graph, about, opset_imports=opsets)


@pytest.fixture
def file(tmp_path):
    return save(norm_and_scan(), tmp_path / "model.onnx")


def built(file, **options):
    engine = file.with_suffix(".engine")
    return engine, build_engine(file, engine, OnnxruntimeOptions(**options))


def test_the_manifest_names_the_fused_operators_and_their_version(file):
    engine, manifest = built(file)
    assert manifest.build_info["fused"] == {"RMSNorm": 1}
    assert manifest.environment["fused_operators"] == str(FUSED_VERSION)
    pixels = np.random.default_rng(1).standard_normal((3, 1, LENGTH, SIZE)).astype(np.float32)
    with vim_deploy.load(engine) as fused:
        found = fused.run(pixels)["logits"]
    plain_engine, _ = built(file, fuse=False)
    with vim_deploy.load(plain_engine) as plain:
        np.testing.assert_allclose(found, plain.run(pixels)["logits"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "options", [{"fuse": False}, {"optimization": "none"}], ids=["no fusion", "no optimization"]
)
def test_no_fused_operators(file, options):
    _, manifest = built(file, **options)
    assert "fused" not in manifest.build_info
    assert "fused_operators" not in manifest.environment


def test_engines_for_another_version_are_refused(file, monkeypatch):
    engine, _ = built(file)
    monkeypatch.setattr(backend, "FUSED_VERSION", FUSED_VERSION + 1)
    with pytest.raises(EngineError, match=f"fused_operators is {FUSED_VERSION} in the engine"):
        vim_deploy.load(engine)


LIBRARY = """
extern "C" {
int vim_deploy_contract_version() { return CONTRACT; }
const char* vim_deploy_instruction_set() { return "portable"; }
const char* vim_deploy_instruction_set_error() { return nullptr; }
const char* vim_deploy_usable_instruction_sets() { return "portable"; }
#ifdef FUSED
int vim_deploy_fused_version() { return FUSED; }
#endif
}
"""


@pytest.mark.parametrize(
    ("definitions", "version"),
    [(["-DFUSED=4"], "version 4"), ([], "an older version")],
    ids=["states its version", "does not"],
)
def test_a_library_of_another_release_is_refused_by_its_version(
    file, tmp_path, monkeypatch, definitions, version
):
    """Before ONNX Runtime reports that an operator is not registered."""
    engine, _ = built(file)
    source, library = tmp_path / "library.cpp", tmp_path / "older.so"
    source.write_text(LIBRARY)
    definitions = [*definitions, f"-DCONTRACT={CONTRACT_VERSION}"]
    subprocess.run(
        [compiler(), "-shared", "-fPIC", *definitions, str(source), "-o", str(library)], check=True
    )
    monkeypatch.setenv(LIBRARY_VARIABLE, str(library))
    message = rf"older\.so has {version} of the fused operators, expected {FUSED_VERSION}; .*cmake --build"
    with pytest.raises(OperatorLibraryError, match=message):
        vim_deploy.load(engine)
    with pytest.raises(OperatorLibraryError, match=message):
        built(file)


def test_the_cache_keeps_fused_and_plain_engines_apart():
    fused = backend.fingerprint(OnnxruntimeOptions())
    assert fused["fused_operators"] == str(FUSED_VERSION)
    assert backend.fingerprint(OnnxruntimeOptions(fuse=False)) != fused
