"""Engines with matmuls in int8: as standard operators define them, recorded, and only on request."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import commands
import numpy as np
import onnx
import pytest
from small_exports import IMAGE_SIZE, small_export

import vim_deploy
from vim_deploy.cli.build import main
from vim_deploy.engines import selfcheck
from vim_deploy.engines.build import build_engine
from vim_deploy.engines.fusion.rewrite import fuse
from vim_deploy.engines.onnxruntime.fusion.ends import rewrite_ends
from vim_deploy.engines.onnxruntime.fusion.int8 import INT8, quantize
from vim_deploy.engines.onnxruntime.fusion.int8_reference import quantize_matmuls
from vim_deploy.engines.onnxruntime.fusion.matmul import fuse_matmuls, matmul_of_packed
from vim_deploy.engines.onnxruntime.options import OnnxruntimeOptions
from vim_deploy.errors import EngineError
from vim_deploy.ops.library import ort_library, usable_instruction_sets
from vim_deploy.precision import Precision

ort = pytest.importorskip("onnxruntime", reason="building engines needs onnxruntime")
INT8_OPTIONS = OnnxruntimeOptions(threads=1, cpu_precision="int8")
DIGITS = Path(__file__).parents[3] / "examples/digits/digits.safetensors"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "small.onnx"
    path.write_bytes(small_export("fp32"))
    return path


def pixels(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 3, *IMAGE_SIZE)).astype(np.float32)


def run(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.register_custom_ops_library(str(ort_library()))
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})[0]


def fused_and_quantized(smoothing_seed: int | None = None) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The same network with fused int8 matmuls, and with the same matmuls in standard operators.

    The scan is the one in float32 in both.
    """
    fused, plain = (onnx.load_model_from_string(small_export("fp32")) for _ in range(2))
    for model in (fused, plain):
        rewrite_ends(model, patches=True)
    fuse(fused)
    weights = {tensor.name: tensor.dims for tensor in plain.graph.initializer}
    depths = {
        node.output[0]: weights[node.input[1]][0]
        for node in plain.graph.node
        if node.op_type == "MatMul" and node.input[1] in weights
    }
    smoothing = {}
    if smoothing_seed is not None:
        generator = np.random.default_rng(smoothing_seed)
        smoothing = {
            name: np.exp(generator.standard_normal(depth)).astype(np.float32)
            for name, depth in depths.items()
        }
    fuse_matmuls(fused, dataclasses.replace(INT8, reduced_scan=False), smoothing)
    assert len({tensor.name for tensor in fused.graph.initializer}) == len(fused.graph.initializer)
    found = filter(None, (matmul_of_packed(tensor.name) for tensor in fused.graph.initializer))
    quantize_matmuls(plain, set(found), smoothing)
    return fused, plain


@pytest.mark.parametrize("smoothing_seed", [None, 0], ids=["plain", "smoothed"])
def test_fused_matmuls_equal_standard_operators(smoothing_seed):
    fused, plain = fused_and_quantized(smoothing_seed)
    expected = run(plain, pixels(2))
    error = np.abs(run(fused, pixels(2)) - expected).max() / np.abs(expected).max()
    # Another order of summation in float32 may move values across a rounding boundary; a wrong scale, offset
    # or smoothing factor differs by far more.
    assert error < 5e-3


def test_smoothing_with_ones_changes_nothing_but_the_factors_do():
    plain, _ = fused_and_quantized()
    smoothed, _ = fused_and_quantized(0)
    assert np.abs(run(plain, pixels(2)) - run(smoothed, pixels(2))).max() > 0


def test_weights_are_rounded_per_column():
    weights = np.random.default_rng(0).standard_normal((20, 7)) * np.array([1e-3, 1, 1, 50, 0, 1, 1])
    integers, scales = quantize(weights.astype(np.float32))
    assert integers.dtype == np.int8
    assert (np.abs(integers).max(axis=0) == [127, 127, 127, 127, 0, 127, 127]).all()
    assert (np.abs(integers * scales - weights) <= scales / 2 * 1.001).all()


def test_the_manifest_records_the_precision_and_both_differences(file, tmp_path):
    manifest = build_engine(file, tmp_path / "int8.engine", INT8_OPTIONS)
    assert manifest.precision == Precision.INT8_MATMUL
    assert {"ProjectNormProjectInt8", "ConvProjectInt8"} <= set(manifest.build_info["fused"])
    check = manifest.self_check
    assert check["from_standard_operators"] < 1e-4 < check["max_relative_diff"] <= check["tolerance"]
    assert "--cpu-precision int8" in manifest.rebuild_command("x.engine")


def test_an_engine_with_larger_errors_than_rounding_is_refused(file, tmp_path, monkeypatch):
    monkeypatch.setattr(selfcheck, "INT8_FACTOR", 0.5)
    with pytest.raises(EngineError, match=r"expected at most .*, 0\.5 times the difference of int8 matmuls"):
        build_engine(file, tmp_path / "x.engine", INT8_OPTIONS)
    assert not (tmp_path / "x.engine").exists()


def test_results_do_not_depend_on_the_batch_or_the_threads(file, tmp_path):
    build_engine(file, tmp_path / "int8.engine", INT8_OPTIONS)
    images = pixels(5)
    images[3] *= 1000  # an image with large values must not change the scales of the others
    with vim_deploy.load(tmp_path / "int8.engine") as one:
        together = one.run(images)["logits"]
        single = np.concatenate([one.run(images[i : i + 1])["logits"] for i in range(len(images))])
    with vim_deploy.load(tmp_path / "int8.engine", threads=2) as two:
        np.testing.assert_array_equal(two.run(images)["logits"], together)
    np.testing.assert_array_equal(single, together)


_RUN = """
import sys, numpy as np, vim_deploy
images = np.random.default_rng(0).standard_normal((2, 3, *map(int, sys.argv[2:]))).astype(np.float32)
with vim_deploy.load(sys.argv[1]) as model:
    np.save(sys.stdout.buffer, model.run(images)["logits"])
"""


@pytest.mark.parametrize("name", ["avx512_vnni", "avx512", "avx2_vnni", "avx2", "neon", "portable"])
def test_every_instruction_set_computes_the_same(file, tmp_path, name, monkeypatch):
    if name not in usable_instruction_sets():
        pytest.skip(f"this build on this CPU has no {name}")
    engine = tmp_path / "int8.engine"
    build_engine(file, engine, dataclasses.replace(INT8_OPTIONS, optimization="basic"))
    with vim_deploy.load(engine) as model:
        expected = model.run(pixels(2))["logits"]
    monkeypatch.setenv("VIM_DEPLOY_ISA", name)
    command = [sys.executable, "-c", _RUN, str(engine), *map(str, IMAGE_SIZE)]
    output = subprocess.run(command, capture_output=True, check=True).stdout
    (tmp_path / "found.npy").write_bytes(output)
    error = np.abs(np.load(tmp_path / "found.npy") - expected).max() / np.abs(expected).max()
    assert error < 5e-3


@pytest.mark.parametrize(
    "options",
    [{"fuse": False}, {"optimization": "none"}, {"use_library": False}, {"device": "cuda"}],
    ids=["no fusion", "no optimization", "no library", "cuda"],
)
def test_conflicting_options_are_named(file, tmp_path, options, monkeypatch):
    monkeypatch.setattr("vim_deploy.engines.onnxruntime.backend.check_device", lambda device: None)
    monkeypatch.setattr("vim_deploy.engines.onnxruntime.backend.ort_cuda_library", ort_library)
    with pytest.raises(EngineError, match="--cpu-precision int8 needs the fused operators for the CPU"):
        build_engine(file, tmp_path / "x.engine", OnnxruntimeOptions(cpu_precision="int8", **options))


def test_int8_is_refused_for_tensorrt(file, tmp_path):
    arguments = [
        str(file),
        "-o",
        str(tmp_path / "x.engine"),
        "--backend",
        "tensorrt",
        "--cpu-precision",
        "int8",
    ]
    result = commands.invoke(main, *arguments)
    assert result.exit_code == 2
    assert "--cpu-precision: only valid with --backend onnxruntime" in result.output
