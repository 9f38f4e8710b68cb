"""Files in fp16 and bf16: types, values, errors."""

from __future__ import annotations

import json
from dataclasses import replace

import commands
import numpy as np
import onnx
import pytest
import torch
from golden_data import load_json
from golden_models import golden_model
from small_exports import IMAGE_SIZE, small_export, small_model

from vim_deploy.cli import export
from vim_deploy.errors import ExportError
from vim_deploy.export.reduced import compare_reduced, in_precision
from vim_deploy.onnx_graph.upcast import upcast_to_fp32
from vim_deploy.ops import use_scan
from vim_deploy.ops.signature import OP_NAME
from vim_deploy.parity.difference import difference
from vim_deploy.precision import FILE_PRECISIONS, Precision
from vim_deploy.tasks.classify.export import ClassifyModule

pytest.importorskip("onnxruntime", reason="running exported files needs onnxruntime")

ELEMENTS = {str(precision): precision.onnx_type for precision in FILE_PRECISIONS}
REDUCED = ("fp16", "bf16")
_FLOATS = set(ELEMENTS.values())


def types_of(data: bytes) -> tuple[onnx.ModelProto, dict[str, int]]:
    """The model, and the element type of every value. Raises if the types are inconsistent."""
    model = onnx.shape_inference.infer_shapes(
        onnx.load_model_from_string(data), check_type=True, strict_mode=True
    )
    values = (*model.graph.input, *model.graph.output, *model.graph.value_info)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return model, types | {item.name: item.data_type for item in model.graph.initializer}


@pytest.mark.parametrize("precision", REDUCED)
def test_blocks_are_in_reduced_precision_and_the_rest_in_float32(precision):
    model, types = types_of(small_export(precision))
    narrow = ELEMENTS[precision]
    for value in (*model.graph.input, *model.graph.output):
        assert types[value.name] == 1
    for node in model.graph.node:
        kinds = {types[name] for name in (*node.input, *node.output)} & _FLOATS
        if node.op_type == OP_NAME:
            assert [types[name] for name in node.input] == [narrow, narrow, 1, narrow, narrow, 1, narrow, 1]
            assert types[node.output[0]] == narrow
        elif ".mixer" in node.name:
            assert kinds <= {narrow}, node.name
        elif node.op_type != "Cast" and not node.name.startswith("layers"):
            assert kinds <= {1}, node.name
        elif ".norm" in node.name:
            assert kinds == {1}, node.name


def test_residual_stream_is_never_rounded():
    """Outputs of mixers are cast to float32, and the residual stream is not cast."""
    model, types = types_of(small_export("fp16"))
    sums = [node for node in model.graph.node if node.op_type == "Add" and node.name.startswith("layers.")]
    streams = [node for node in sums if ".mixer" not in node.name and ".norm" not in node.name]
    assert streams
    assert all(types[name] == 1 for node in streams for name in (*node.input, *node.output))


def test_fp32_returns_the_same_model():
    assert in_precision(small_model(), "fp32") is small_model()


@pytest.mark.parametrize("precision", REDUCED)
def test_the_given_model_is_not_changed(precision):
    before = [value.clone() for value in small_model().parameters()]
    reduced = in_precision(small_model(), precision)
    assert {value.dtype for value in reduced.parameters()} == {
        torch.float32,
        getattr(torch, Precision(precision).dtype),
    }
    assert all(
        torch.equal(old, new) and new.dtype == torch.float32
        for old, new in zip(before, small_model().parameters(), strict=True)
    )


def test_weights_out_of_range_are_named():
    model = in_precision(small_model(), "bf16").float()
    with torch.no_grad():
        model.layers[1].mixer.in_proj.weight[0, 0] = 1e5
    with pytest.raises(
        ExportError, match=r"layers\.1\.mixer\.in_proj\.weight.*1e\+05, out of range for fp16"
    ):
        in_precision(model, "fp16")
    assert in_precision(model, "bf16").layers[1].mixer.dtype is torch.bfloat16


def test_unknown_precision():
    with pytest.raises(ExportError, match="precision is 'int4'; expected one of fp32, fp16, bf16, int8"):
        in_precision(small_model(), "int4")


@pytest.mark.parametrize("precision", REDUCED)
def test_upcast_file_has_the_same_values_in_float32(precision):
    narrow = onnx.load_model_from_string(small_export(precision))
    wide = upcast_to_fp32(narrow)
    pairs = zip(narrow.graph.initializer, wide.graph.initializer, strict=True)
    for before, after in pairs:
        old, new = onnx.numpy_helper.to_array(before), onnx.numpy_helper.to_array(after)
        assert np.array_equal(old.astype(np.float64), new.astype(np.float64))
    _, types = types_of(wide.SerializeToString())
    assert not {10, 16} & set(types.values())


def _compare(tmp_path, data, precision):
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    pixels = np.random.default_rng(1).standard_normal((2, 3, *IMAGE_SIZE), np.float32)
    wide = ClassifyModule(small_model())
    return compare_reduced(
        path, wide, wide.of(in_precision(wide.model, precision)), pixels, Precision(precision)
    )


@pytest.mark.parametrize(("precision", "rounding"), [("fp16", "function_body"), ("bf16", "eager")])
def test_graph_and_rounding_are_compared_separately(tmp_path, precision, rounding):
    figures = _compare(tmp_path, small_export(precision), precision)
    assert set(figures) == {"upcast", rounding}
    assert figures["upcast"]["relative"] < Precision.FP32.tolerance
    assert figures["upcast"]["relative"] < figures[rounding]["relative"] < Precision(precision).tolerance


@pytest.mark.parametrize("precision", REDUCED)
def test_a_wrong_weight_is_detected(tmp_path, precision):
    """An error of 1 %, which is much smaller than the tolerance for bfloat16."""
    model = onnx.load_model_from_string(small_export(precision))
    item = next(item for item in model.graph.initializer if item.name == "layers.0.mixer.conv1d_b.bias")
    values = onnx.numpy_helper.to_array(item)
    item.CopyFrom(
        onnx.numpy_helper.from_array((values * values.dtype.type(1.01)).astype(values.dtype), item.name)
    )
    with pytest.raises(ExportError, match=r"disagrees with the eager model \(upcast\)"):
        _compare(tmp_path, model.SerializeToString(), precision)


def test_a_precision_that_is_too_coarse_is_refused_with_alternatives(tmp_path, monkeypatch):
    strict = replace(difference(np.ones(1), np.ones(1)), relative=0.2)
    found = iter([difference(np.ones(1), np.ones(1)), strict])
    monkeypatch.setattr(ClassifyModule, "difference", lambda *outputs: next(found))
    with pytest.raises(ExportError, match=r"bf16 is too coarse.*--precision fp16 or fp32, or with"):
        _compare(tmp_path, small_export("bf16"), "bf16")


@pytest.mark.parametrize("precision", REDUCED)
@pytest.mark.parametrize("name", ["channels1_classes3", "midcls", "rope_nocls", "layernorm", "bimamba_v1"])
def test_reference_models_stay_within_the_tolerance(name, precision):
    """Eager PyTorch in reduced precision, compared with the reference's float64 logits."""
    cases = {case["name"]: case for case in load_json("models")["cases"]}
    model, tensors = golden_model(cases[name])
    with torch.inference_mode(), use_scan("reference"):
        logits = in_precision(model, precision)(torch.from_numpy(tensors["image"])).numpy()
    assert logits.dtype == np.float32
    assert difference(tensors["logits_f64"], logits).within(precision)


def test_command_records_precision_and_differences(tmp_path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**small_model().config.to_dict()}))
    path = tmp_path / "half.onnx"
    result = commands.run(export, config, "-o", path, "--precision", "fp16", "--json")
    about = json.loads(result.stdout)["metadata"]
    assert about["precision"] == "fp16"
    assert set(about["parity"]) == {"upcast", "function_body", "images"}
    assert "close to the eager float32 model" in result.stderr
    assert any(kind == 10 for kind in types_of(path.read_bytes())[1].values())
