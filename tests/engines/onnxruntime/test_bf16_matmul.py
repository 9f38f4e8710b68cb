"""Engines with matmuls in bfloat16: only on request, recorded, and refused if they are not possible."""

from __future__ import annotations

import logging

import commands
import numpy as np
import pytest
from small_exports import IMAGE_SIZE, small_export
from small_onnx import color_model, save

import vim_deploy
from vim_deploy.cli.build import main
from vim_deploy.engines.build import build_engine
from vim_deploy.engines.onnxruntime import backend
from vim_deploy.engines.onnxruntime.options import OnnxruntimeOptions
from vim_deploy.errors import EngineError
from vim_deploy.families.vim_probes import find_probes
from vim_deploy.precision import Precision
from vim_deploy.validation.artifacts import RunMode, Target
from vim_deploy.validation.probes import open_probed

pytest.importorskip("onnxruntime", reason="building engines needs onnxruntime")
BF16 = OnnxruntimeOptions(threads=1, cpu_precision="bf16")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "small.onnx"
    path.write_bytes(small_export("fp32"))
    return path


def test_the_manifest_records_the_precision_and_the_difference(file, tmp_path, caplog):
    manifest = build_engine(file, tmp_path / "bf16.engine", BF16)
    assert manifest.precision == Precision.BF16_MATMUL
    assert {"ProjectNormProjectBfloat16", "ConvProjectBfloat16"} <= set(manifest.build_info["fused"])
    assert [kind for kind in manifest.build_info["fused"] if "Scan" in kind] == ["ScanPairReduced"]
    error = manifest.self_check["max_relative_diff"]
    # A smaller difference would mean that the inputs were not rounded.
    assert Precision.FP32.tolerance < error < Precision.BF16_MATMUL.tolerance
    assert "--cpu-precision bf16" in manifest.rebuild_command("x.engine")
    with (
        caplog.at_level(logging.INFO, "vim_deploy"),
        vim_deploy.load(tmp_path / "bf16.engine") as engine,
    ):
        assert engine.manifest.precision == Precision.BF16_MATMUL
    assert "matmul inputs are in bf16" in caplog.text
    assert f"in the self-check this engine differed from small.onnx by {error:.1e}" in caplog.text


def test_float32_is_the_default(file, tmp_path):
    manifest = build_engine(file, tmp_path / "fp32.engine")
    assert manifest.precision == "fp32"
    assert not [kind for kind in manifest.build_info["fused"] if kind.endswith("Bfloat16")]
    assert [kind for kind in manifest.build_info["fused"] if "Scan" in kind] == ["ScanPair"]
    assert "cpu-precision" not in manifest.rebuild_command("x.engine")


def test_results_do_not_depend_on_the_batch_or_the_threads(file, tmp_path):
    build_engine(file, tmp_path / "bf16.engine", BF16)
    pixels = np.random.default_rng(0).standard_normal((5, 3, *IMAGE_SIZE)).astype(np.float32)
    with vim_deploy.load(tmp_path / "bf16.engine") as one:
        together = one.run(pixels)["logits"]
        single = np.concatenate([one.run(pixels[i : i + 1])["logits"] for i in range(len(pixels))])
    with vim_deploy.load(tmp_path / "bf16.engine", threads=2) as two:
        np.testing.assert_array_equal(two.run(pixels)["logits"], together)
    np.testing.assert_array_equal(single, together)


@pytest.mark.parametrize(
    "options",
    [{"fuse": False}, {"optimization": "none"}, {"use_library": False}],
    ids=["no fusion", "no optimization", "no library"],
)
def test_conflicting_options_are_named(file, tmp_path, options):
    with pytest.raises(EngineError, match="--cpu-precision bf16 needs the fused operators"):
        build_engine(file, tmp_path / "x.engine", OnnxruntimeOptions(cpu_precision="bf16", **options))


def test_other_precisions_are_refused():
    with pytest.raises(EngineError, match="cpu_precision is 'fp8'; expected one of fp32, bf16, int8"):
        OnnxruntimeOptions(cpu_precision="fp8")


def test_a_file_without_such_matmuls_is_refused(tmp_path):
    path = save(color_model(), tmp_path / "color.onnx")
    with pytest.raises(EngineError, match="cpu-precision"):
        build_engine(path, tmp_path / "x.engine", BF16)


def test_an_unfused_network_is_refused(file, tmp_path):
    engine = tmp_path / "bf16.engine"
    build_engine(file, engine, BF16)
    with pytest.raises(EngineError, match="drop --layers"):
        open_probed(Target(engine, RunMode.ENGINE), file, find_probes)


def test_the_cache_keeps_precisions_apart():
    assert backend.fingerprint(OnnxruntimeOptions()) != backend.fingerprint(BF16)


def test_the_option_is_only_valid_for_onnxruntime(file, tmp_path):
    output = tmp_path / "x.engine"
    result = commands.invoke(main, file, "-o", output, "--cpu-precision", "bf16")
    assert result.exit_code == 0, result.output
    assert Precision.BF16_MATMUL.value in result.output
    result = commands.invoke(main, file, "-o", output, "--backend", "tensorrt", "--cpu-precision", "bf16")
    assert result.exit_code == 2
    assert "--cpu-precision: only valid with --backend onnxruntime" in result.output
