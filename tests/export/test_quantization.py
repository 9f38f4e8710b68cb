"""Files in int8 and fp8: which matmuls are quantized, how exact they are, and what the command refuses."""

from __future__ import annotations

import json
from pathlib import Path

import commands
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from small_exports import BLOCKS, small_batches, small_export

from vim_deploy.cli.export import main
from vim_deploy.engines.build import build_engine
from vim_deploy.engines.container import read_manifest
from vim_deploy.engines.onnxruntime.options import OnnxruntimeOptions
from vim_deploy.engines.onnxruntime.session import make_session, unsuitable_optimizers
from vim_deploy.errors import EngineError, ExportError
from vim_deploy.export.quantization.formats import FORMATS, FP8, INT8, Format, dequantized
from vim_deploy.export.quantization.graph import quantize
from vim_deploy.export.quantization.samples import Samples
from vim_deploy.export.quantization.scales import choose_scales
from vim_deploy.onnx_graph.index import GraphIndex
from vim_deploy.precision import QUANTIZED_PRECISIONS, Precision

pytest.importorskip("onnxruntime", reason="ranges are found with onnxruntime")

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
DEPTH, COLUMNS = 64, 8
PRECISIONS = [str(precision) for precision in QUANTIZED_PRECISIONS]


def run(data: bytes, pixels: np.ndarray) -> np.ndarray:
    (result,) = make_session(data, disabled=unsuitable_optimizers(Precision.FP8)).run(
        None, {"pixels": pixels}
    )
    return result


def outliers(rows: int = 200) -> np.ndarray:
    """Inputs of a matmul with two channels that are 100 times as large as the others."""
    values = np.random.default_rng(0).standard_normal((rows, DEPTH)).astype(np.float32)
    values[:, [3, 40]] *= 100
    return values


def matmul_model(scale: np.ndarray | None, form: Format = INT8) -> onnx.ModelProto:
    """x @ weights, or (x * scale) @ weights."""
    weights = np.random.default_rng(1).standard_normal((DEPTH, COLUMNS)).astype(np.float32)
    constants = [numpy_helper.from_array(weights, "weights")]
    nodes = [helper.make_node("MatMul", ["scaled", "weights"], ["y"], name="matmul")]
    if scale is None:
        nodes.insert(0, helper.make_node("Abs", ["pixels"], ["scaled"], name="absolute"))
    else:
        constants.append(numpy_helper.from_array(scale, "scale"))
        nodes.insert(0, helper.make_node("Mul", ["pixels", "scale"], ["scaled"], name="norm"))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("pixels", TensorProto.FLOAT, [None, DEPTH])],
        [value("y", TensorProto.FLOAT, [None, COLUMNS])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", form.opset)], ir_version=9)


def test_weights_are_rounded_to_the_nearest_of_255_values_per_column():
    weights = np.random.default_rng(0).standard_normal((DEPTH, COLUMNS)).astype(np.float32)
    weights[:, 0] = 0  # a column of zeros has a scale, too
    integers, scales = INT8.quantize_weights(weights)
    assert integers.dtype == np.int8 and np.abs(integers).max() == 127
    assert (np.abs(dequantized(integers, scales) - weights) <= scales / 2 * 1.001).all()


def test_fp8_is_rounded_to_four_bits_and_clipped():
    values = np.array([0, 1, 1.06, 1.07, -1.9, 448, 463, 470, -1e9, 2**-9, 2**-11], np.float32)
    expected = [0, 1, 1, 1.125, -1.875, 448, 448, 448, -448, 2**-9, 0]
    assert FP8.rounded(values).astype(np.float32).tolist() == expected


def test_weights_in_fp8_have_one_scale():
    weights = np.random.default_rng(0).standard_normal((DEPTH, COLUMNS)).astype(np.float32)
    rounded, scale = FP8.quantize_weights(weights)
    assert scale.shape == () and np.abs(rounded.astype(np.float32)).max() == 448
    normal = np.abs(weights / scale) >= 2**-6
    error = np.abs(dequantized(rounded, scale) - weights)
    assert (error <= np.where(normal, np.abs(weights) * 2**-4 * 1.001, scale * 2**-9)).all()


def test_factors_reduce_the_error_of_inputs_with_outlier_channels():
    rows = outliers()
    samples = Samples(np.abs(rows).max(axis=0), rows)
    weights = np.random.default_rng(1).standard_normal((DEPTH, COLUMNS)).astype(np.float32)
    chosen = choose_scales(INT8, weights, samples, foldable=True)
    assert chosen.factors is not None and chosen.factors[3] > 5 * np.median(chosen.factors)
    exact = rows @ weights
    plain = np.rint(rows / (np.abs(rows).max() / 127)) * (np.abs(rows).max() / 127)
    without = (
        np.square(plain @ dequantized(*INT8.quantize_weights(weights)) - exact).sum() / np.square(exact).sum()
    )
    assert chosen.error < without / 5


@pytest.mark.parametrize("fold", [True, False])
def test_factors_are_folded_into_the_producer_or_multiplied(fold):
    model = matmul_model(np.full(DEPTH, 2, np.float32) if fold else None)
    inputs = outliers()
    expected = run(model.SerializeToString(), inputs)
    found = quantize(model, Precision.INT8, iter([{"pixels": inputs}]), 1)
    assert (found.matmuls, found.smoothed, found.multiplied) == (1, 1, int(not fold))
    onnx.checker.check_model(model, full_check=True)
    kinds = [node.op_type for node in model.graph.node]
    before = ["Mul"] if fold else ["Abs", "Mul"]
    assert kinds == [*before, "QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "MatMul"]
    error = np.square(run(model.SerializeToString(), inputs) - expected).sum() / np.square(expected).sum()
    assert error < 1e-3
    assert error == pytest.approx(found.error, rel=0.5)


def test_fp8_needs_no_factors():
    model = matmul_model(np.full(DEPTH, 2, np.float32), FP8)
    inputs = outliers()
    expected = run(model.SerializeToString(), inputs)
    found = quantize(model, Precision.FP8, iter([{"pixels": inputs}]), 1)
    assert (found.matmuls, found.smoothed, found.multiplied) == (1, 0, 0)
    onnx.checker.check_model(model, full_check=True)
    kinds = [node.op_type for node in model.graph.node]
    assert kinds == ["Mul", "QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "MatMul"]
    error = np.square(run(model.SerializeToString(), inputs) - expected).sum() / np.square(expected).sum()
    assert error < 3e-3  # inputs and weights have 3 bits after the leading one
    assert error == pytest.approx(found.error, rel=0.5)


def test_a_constant_that_another_node_reads_is_not_changed():
    model = matmul_model(np.full(DEPTH, 2, np.float32))
    model.graph.node.append(helper.make_node("Identity", ["scaled"], ["z"], name="other"))
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [None, DEPTH]))
    found = quantize(model, Precision.INT8, iter([{"pixels": outliers()}]), 1)
    assert found.smoothed == found.multiplied
    assert (GraphIndex(model.graph).constant("scale") == 2).all()


def test_a_network_without_large_matmuls_is_refused():
    model = matmul_model(None)
    model.graph.node[1].op_type = "Gemm"
    with pytest.raises(ExportError, match="no matmul with constant weights"):
        quantize(model, Precision.INT8, iter([]), 1)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_exported_file_has_8_bit_weights_and_nearly_the_same_outputs(precision):
    plain, model = (onnx.load_model_from_string(small_export(name)) for name in ("fp32", precision))
    kind = FORMATS[Precision(precision)].onnx_type
    weights = [item for item in model.graph.initializer if item.data_type == kind and len(item.dims) == 2]
    assert len(weights) == 3 * BLOCKS  # two projections to the scans' inputs, and the last one
    assert len(small_export(precision)) < len(small_export("fp32")) + 20_000
    kept = {item.name for item in model.graph.initializer}
    assert sum(item.name not in kept for item in plain.graph.initializer) == len(weights)
    pixels = np.concatenate(list(small_batches(1)))
    expected, found = (run(small_export(name), pixels) for name in ("fp32", precision))
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
    assert not np.array_equal(found, expected)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(generator.integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / f"{number}.png")
    return folder


def export_digits(output: Path, *options: str) -> tuple[int, str]:
    card = str(DIGITS / "digits.json")
    given = ["auto", "--checkpoint", str(DIGITS / "digits.safetensors"), "--class-names", card]
    result = commands.invoke(main, *given, "--preprocessing", card, "-o", output, *options)
    return result.exit_code, " ".join(result.output.split())


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_command_writes_a_file_that_becomes_an_engine(tmp_path, photos, precision):
    path = tmp_path / "digits.onnx"
    code, printed = export_digits(path, "--precision", precision, "--calibrate", str(photos))
    assert code == 0, printed
    assert f"{precision} in 16 matmuls with ranges from 3 images, compared with the eager float32" in printed
    props = {item.key: json.loads(item.value) for item in onnx.load(path).metadata_props}
    assert props["vim_deploy.precision"] == precision
    assert props["vim_deploy.quantization"]["images"] == 3
    assert props["vim_deploy.quantization"]["matmuls"] == 16
    assert props["vim_deploy.parity"].keys() == {"library", "function_body", precision, "images"}
    with pytest.raises(EngineError, match=f"digits.onnx is in {precision}, which --cpu-precision cannot"):
        build_engine(path, tmp_path / "digits.engine", OnnxruntimeOptions(cpu_precision="bf16"))
    build_engine(path, tmp_path / "digits.engine")
    manifest = read_manifest(tmp_path / "digits.engine")
    assert manifest.precision == precision
    assert (
        manifest.build_info["fused"]["AddRMSNorm"] == 4
    )  # one per block, and the last; the first adds nothing


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--precision", "int8"], "--precision int8 needs images like those of the application"),
        (["--precision", "fp8"], "--precision fp8 needs images like those of the application"),
        (["--calibrate", "photos"], "--calibrate is for --precision int8 and fp8, and the precision is fp32"),
    ],
)
def test_quantization_and_images_belong_together(tmp_path, options, message):
    code, printed = export_digits(tmp_path / "digits.onnx", *options)
    assert code == 2 and message in printed
    assert not list(tmp_path.iterdir())


def test_a_folder_without_images_is_refused_with_the_option(tmp_path):
    (tmp_path / "empty").mkdir()
    options = ("--precision", "fp8", "--calibrate", str(tmp_path / "empty"))
    code, printed = export_digits(tmp_path / "digits.onnx", *options)
    assert code == 2 and "empty; expected image files, or folders of them, in --calibrate" in printed


@pytest.mark.parametrize("check", [["--no-check"], []])
def test_a_damaged_image_is_refused_with_its_name(tmp_path, photos, check):
    (tmp_path / "damaged.png").write_bytes(b"no image")
    options = (
        "--precision",
        "int8",
        "--calibrate",
        str(photos),
        "--calibrate",
        str(tmp_path / "damaged.png"),
    )
    code, printed = export_digits(tmp_path / "digits.onnx", *options, *check)
    assert (
        code == 2
        and "damaged.png: " in printed
        and "remove it or give other images with --calibrate" in printed
    )
    assert not (tmp_path / "digits.onnx").exists()
