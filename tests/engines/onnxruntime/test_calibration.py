"""Smoothing factors from images: they shrink the inputs' outlier channels and leave the network the same."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from small_exports import IMAGE_SIZE, small_export

from vim_deploy import load
from vim_deploy.engines.build import build_engine
from vim_deploy.engines.manifest import Manifest
from vim_deploy.engines.onnxruntime.calibration import calibrate
from vim_deploy.engines.onnxruntime.fusion.apply import prepare
from vim_deploy.engines.onnxruntime.fusion.int8_reference import quantize_matmuls
from vim_deploy.engines.onnxruntime.fusion.smoothing import factors_of, with_ranges
from vim_deploy.engines.onnxruntime.options import OnnxruntimeOptions
from vim_deploy.engines.source import read_source
from vim_deploy.errors import EngineError, ImageError

ort = pytest.importorskip("onnxruntime", reason="building engines needs onnxruntime")
DEPTH, COLUMNS = 32, 24
INT8 = {"cpu_precision": "int8", "threads": 1}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "small.onnx"
    path.write_bytes(small_export("fp32"))
    return path


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(3):
        pixels = generator.integers(0, 256, (*IMAGE_SIZE, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def one_matmul() -> onnx.ModelProto:
    weights = np.random.default_rng(0).standard_normal((DEPTH, COLUMNS)).astype(np.float32)
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, (2, 5, size))
        for name, size in (("x", DEPTH), ("y", COLUMNS))
    )
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "one",
        [x],
        [y],
        [numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model: bytes, x: np.ndarray) -> dict[str, np.ndarray]:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_outputs()]
    return dict(zip(names, session.run(None, {"x": x}), strict=True))


def test_smoothing_reduces_the_error_of_outlier_channels():
    model = one_matmul()
    x = np.random.default_rng(1).standard_normal((2, 5, DEPTH)).astype(np.float32)
    x[..., 3] *= 200
    probed, outputs = with_ranges(model.SerializeToString())
    ranges = run(probed, x)
    np.testing.assert_array_equal(ranges[outputs["y"]], np.abs(x).max(axis=(0, 1)))
    factors = factors_of(model.SerializeToString(), {"y": ranges[outputs["y"]]})
    assert factors["y"].argmin() == 3
    expected = run(model.SerializeToString(), x)["y"]
    errors = []
    for smoothing in ({}, factors):
        quantized = one_matmul()
        quantize_matmuls(quantized, {"y"}, smoothing)
        errors.append(np.square(run(quantized.SerializeToString(), x)["y"] - expected).mean())
    assert errors[1] < errors[0] / 4


def test_factors_are_found_for_all_matmuls_of_the_blocks(file, images):
    source = read_source(file)
    data = prepare(source.data, OnnxruntimeOptions(**INT8))
    factors = calibrate(dataclasses.replace(source, data=data), images)
    assert {"logits/MatMul", "patch_embed/Transpose/MatMul"} <= factors.keys()
    fused = build_engine(file, file.with_suffix(".engine"), OnnxruntimeOptions(**INT8)).build_info["fused"]
    assert len(factors) >= 2 * fused["ProjectNormProjectInt8"] + 2 * fused["ConvProjectInt8"]
    assert all(np.isfinite(value).all() and (value > 0).all() for value in factors.values())


def test_an_engine_is_built_with_factors_and_records_the_folder(file, images, tmp_path):
    options = OnnxruntimeOptions(calibrate=images, **INT8)
    manifest = build_engine(file, tmp_path / "x.engine", options)
    plain = build_engine(file, tmp_path / "y.engine", OnnxruntimeOptions(**INT8))
    assert manifest.payload.sha256 != plain.payload.sha256
    assert manifest.self_check["from_standard_operators"] < 5e-3
    assert f"--calibrate {images}" in manifest.rebuild_command("x.engine")
    assert Manifest.from_json(manifest.to_json(), "x.engine").options == options


def test_calibration_without_int8_is_refused(file, images, tmp_path):
    with pytest.raises(EngineError, match="--calibrate is for --cpu-precision int8"):
        build_engine(file, tmp_path / "x.engine", OnnxruntimeOptions(calibrate=images))


def test_an_engine_is_opened_whatever_is_now_at_the_path_of_the_folder(file, images, tmp_path):
    build_engine(file, tmp_path / "x.engine", OnnxruntimeOptions(calibrate=images, **INT8))
    shutil.rmtree(images)
    images.write_bytes(b"")
    load(tmp_path / "x.engine").close()


def test_a_folder_that_is_none_is_refused(file, tmp_path):
    with pytest.raises(ImageError, match=r"--calibrate: .*none does not exist; give a folder"):
        calibrate(read_source(file), tmp_path / "none")
    with pytest.raises(ImageError, match=r"--calibrate: .*small\.onnx is not a folder; give a folder"):
        calibrate(read_source(file), file)


def test_unusable_images_are_named(file, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ImageError, match="--calibrate: no images"):
        calibrate(read_source(file), empty)
    (empty / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ImageError, match=r"--calibrate: .*broken\.png: "):
        calibrate(read_source(file), empty)
