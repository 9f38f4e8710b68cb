"""Exported files in TensorRT's own ONNX parser, which fills a network that records its layers.

No GPU is needed; see conftest.py for what is.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import pytest
from small_exports import BLOCKS, small_export
from task_exports import EXPORTS

pytest.importorskip("torch", reason="recorded networks are computed with PyTorch")
pytest.importorskip("onnxruntime", reason="recorded networks are compared with onnxruntime")

from parsed_file import checked
from tensorrt_parsers.compare import parse
from tensorrt_parsers.installation import Recorder
from tensorrt_parsers.recording import record

from vim_deploy.engines.fusion.domain import CONV_PAIR, SCAN_PAIR
from vim_deploy.engines.tensorrt.graph import prepare
from vim_deploy.engines.tensorrt.parser_8_6 import rewrite_for_8_6

TYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


@pytest.mark.parametrize("batch", [None, 3])
@pytest.mark.parametrize("precision", TYPES)
def test_classifiers(recorder, plugins, tmp_path, precision, batch):
    if precision == "bf16" and recorder.installation.major < 10:
        pytest.skip("TensorRT 8.6 has no bfloat16")
    parsed, _ = checked(recorder, plugins, small_export(precision, batch), tmp_path)
    scans = parsed.recording.plugins
    assert len(scans) == 2 * BLOCKS
    for layer in scans:
        types = [tensor.type for tensor in (*layer.inputs, *layer.outputs) if tensor is not None]
        assert types[0] == TYPES[precision]
        assert " ".join(types) in layer.plugin["accepted"]
        assert layer.plugin["read_back"] and not layer.plugin["other_formats"]
        assert layer.plugin["workspace"] > 0
    (logits,) = parsed.recording.outputs
    assert logits.dims == (-1 if batch is None else batch, 5)


@pytest.mark.parametrize("precision", TYPES)
def test_fused_classifiers(recorder, plugins, tmp_path, precision):
    if precision == "bf16" and recorder.installation.major < 10:
        pytest.skip("TensorRT 8.6 has no bfloat16")
    parsed, _ = checked(recorder, plugins, small_export(precision), tmp_path, fuse=True)
    found = Counter(layer.plugin["name"] for layer in parsed.recording.plugins)
    assert found == {CONV_PAIR: BLOCKS, SCAN_PAIR: BLOCKS}
    for layer in parsed.recording.plugins:
        types = [tensor.type for tensor in (*layer.inputs, *layer.outputs) if tensor is not None]
        assert types[0] == TYPES[precision] and " ".join(types) in layer.plugin["accepted"]
        assert layer.plugin["read_back"] and not layer.plugin["other_formats"]
        assert (layer.plugin["workspace"] > 0) == (layer.plugin["name"] == SCAN_PAIR)


@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_quantized_classifiers(recorder, plugins, tmp_path, precision):
    if precision == "fp8" and recorder.installation.major < 10:
        pytest.skip("TensorRT 8.6 has no fp8")
    parsed, _ = checked(recorder, plugins, small_export(precision), tmp_path, fuse=True)
    kinds = Counter(layer.kind for layer in parsed.recording.layers)
    assert kinds["Quantize"] == 3 * BLOCKS  # of inputs; weights are stored as integers
    assert kinds["Dequantize"] == 6 * BLOCKS
    expected = {"int8": "int8", "fp8": "float8_e4m3fn"}[precision]
    quantized = [layer.outputs[0].type for layer in parsed.recording.layers if layer.kind == "Quantize"]
    assert set(quantized) == {expected}


@pytest.mark.parametrize("task", ["features", "segment"])
def test_other_tasks(recorder, plugins, tmp_path, task):
    checked(recorder, plugins, EXPORTS[task]().SerializeToString(), tmp_path)


def test_detectors_with_a_fixed_number_of_rows(recorder, plugins, tmp_path):
    data = EXPORTS["detect"]().SerializeToString()
    recording = parse(recorder, "detector.onnx", data, plugins, tmp_path).recording
    if any("ROIAlign plugin was not found" in error for error in recording.errors):
        pytest.skip("RoiAlign is a plugin of TensorRT's libraries, which are not in TENSORRT_ROOT")
    parsed, _ = checked(recorder, plugins, data, tmp_path)
    rows = {output.name: output.dims for output in parsed.recording.outputs}
    assert rows == {
        "boxes": (100, 4),
        "scores": (100,),
        "classes": (100,),
        "masks": (100, 28, 28),
        "count": (1,),
        "exceeded": (2,),
    }


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_refitting_finds_all_weights_but_constants_of_the_parser(recorder, plugins, tmp_path, precision):
    """engines/tensorrt/refit.py takes these constants from the network."""
    if recorder.installation.major < 10:
        pytest.skip("TensorRT 8.6 has no refitter of ONNX files")
    recording = parse(recorder, "model.onnx", small_export(precision), plugins, tmp_path).recording
    assert recording.refit is not None
    floating, every = recording.refit["floating"], recording.refit["all"]
    assert floating["complete"] and floating["given"] == floating["wanted"] > 0
    assert not floating["different"] and not every["different"] and not recording.refit["unnamed"]
    assert every["complete"] == (not every["missing"])
    constants = {layer.name for layer in recording.layers if layer.kind == "Constant"}
    for missing in every["missing"]:
        name, contents, layer = missing.split(", ", 2)
        assert name.startswith("tmp_weight") and contents.endswith(" of int64")
        assert layer.removeprefix("in ") in constants


def first_error(recorder: Recorder, plugins: tuple[Path, ...], model: onnx.ModelProto, folder: Path) -> str:
    """The first error of the parser, with the position of the node."""
    recording = record(recorder, model.SerializeToString(), plugins, folder)
    assert not recording.parsed
    assert recording.problems()[0] == f"refused by the parser: {'; '.join(recording.errors)}"
    return recording.errors[0]


def prepared(recorder: Recorder) -> onnx.ModelProto:
    data = prepare("m", small_export("fp32"), "fp32", recorder.installation.major).data
    return onnx.load_model_from_string(data)


def position_of(model: onnx.ModelProto, op_type: str) -> int:
    return next(i for i, node in enumerate(model.graph.node) if node.op_type == op_type)


def test_a_node_that_the_parser_does_not_support_is_refused(recorder, plugins, tmp_path):
    model = prepared(recorder)
    position = position_of(model, "Sigmoid")
    model.graph.node[position].op_type = "Sigmoids"
    error = first_error(recorder, plugins, model, tmp_path)
    assert error.startswith(f"node {position}: ") and "plugin" in error.lower()


def test_without_the_plugin_the_first_scan_is_refused(recorder, tmp_path):
    model = prepared(recorder)
    error = first_error(recorder, (), model, tmp_path)
    assert error.startswith(f"node {position_of(model, 'SelectiveScan')}: ") and "plugin" in error.lower()


def test_8_6_needs_whole_shapes(recorder, plugins, tmp_path):
    """Without `rewrite_for_8_6` its parser makes wrong shapes, silently for features."""
    if recorder.installation.major >= 10:
        pytest.skip("10 and later read start and end of Shape")
    data = EXPORTS["features"]().SerializeToString()
    graph = onnx.load_model_from_string(prepare("m", data, "fp32", 10).data)
    assert record(recorder, graph.SerializeToString(), plugins, tmp_path).problems()
    rewrite_for_8_6(graph)
    assert not record(recorder, graph.SerializeToString(), plugins, tmp_path).problems()
