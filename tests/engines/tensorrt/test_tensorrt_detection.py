"""The detector's graph follows the rules of TensorRT's parser."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import task_exports
from dense.golden_detector import golden_config, golden_input
from numpy._core import _multiarray_umath
from onnx import helper, numpy_helper
from prepared_graph import runner
from small_onnx import metadata
from tensorrt_environment import Environment

from vim_deploy import load
from vim_deploy.data.preprocess import Preprocessing
from vim_deploy.dense.detector import Detector
from vim_deploy.engines.container import read_manifest
from vim_deploy.engines.tensorrt import backend as tensorrt_backend
from vim_deploy.engines.tensorrt.api import load_roi_align
from vim_deploy.engines.tensorrt.graph import lint, prepare
from vim_deploy.engines.tensorrt.readback import check_precision
from vim_deploy.errors import EngineError, MissingDependencyError
from vim_deploy.export.onnx import to_onnx
from vim_deploy.metadata import ModelMetadata
from vim_deploy.tasks.detect.export import DetectModule
from vim_deploy.tasks.detect.spec import SPEC


@pytest.fixture(scope="module")
def exported() -> bytes:
    return exported_detector(False)


@pytest.fixture(scope="module")
def fixed() -> bytes:
    """With a fixed number of rows."""
    return exported_detector(True)


def exported_detector(fixed_rows: bool) -> bytes:
    graph = task_exports.detector(fixed_rows)
    helper.set_model_props(graph, small_detector_metadata().to_props())
    return graph.SerializeToString()


def small_detector_metadata() -> ModelMetadata:
    return metadata(
        task="detect",
        config=golden_config().to_dict(),
        class_names=None,
        preprocessing=Preprocessing((128, 128), 1.0),
    )


def test_a_task_with_outputs_of_variable_size_is_refused(exported, tmp_path, monkeypatch):
    place = Environment(tmp_path, monkeypatch)
    place.install(10)
    (tmp_path / "detector.onnx").write_bytes(exported)
    command = r"vim-export MODEL --task detect --fixed-rows -o detector\.onnx\."
    with pytest.raises(
        EngineError, match=rf"as many rows as there are objects.*{command}.*--backend onnxruntime"
    ):
        place.build_file(tmp_path / "detector.onnx")


@pytest.mark.parametrize("major", [8, 10])
def test_a_detector_with_a_fixed_number_of_rows_is_built(fixed, tmp_path, monkeypatch, major):
    place = Environment(tmp_path, monkeypatch)
    place.install(major)
    monkeypatch.setattr(tensorrt_backend, "load_roi_align", lambda trt, name: None)
    (tmp_path / "detector.onnx").write_bytes(fixed)
    engine = place.build_file(tmp_path / "detector.onnx")
    manifest = read_manifest(engine)
    assert manifest.build_info["layers"]["plugins"] == 2 * golden_config().backbone.vim.depth
    assert manifest.self_check["compared"]
    # TensorRT's threshold is the file's; comparisons use rows down to the score 0.
    with load(engine) as opened:
        found = opened.run(golden_input().numpy())
    prepared = onnx.load_model_from_string(prepare("detector.onnx", fixed, "fp32", major).data)
    expected = runner(prepared)(golden_input().numpy())
    for name, values in zip((*SPEC.outputs, "count", "exceeded"), expected, strict=True):
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-4)


def test_8_6_has_no_integers_of_64_bits_as_outputs(exported, fixed):
    """It would write 32 bits into a buffer that is read as 64."""
    with pytest.raises(EngineError, match=r"output classes: 64-bit integers, which 8\.6 does not have"):
        prepare("detector.onnx", exported, "fp32", 8)
    prepare("detector.onnx", fixed, "fp32", 8)
    prepare("detector.onnx", exported, "fp32", 10)


@pytest.mark.parametrize("major", [8, 10, 11])
def test_a_detector_passes_for_every_version(fixed, major):
    prepared = prepare("detector.onnx", fixed, "fp32", major)
    assert len(prepared.scans) == 2 * golden_config().backbone.vim.depth


def test_optional_inputs_are_fixed(exported):
    model = onnx.load_model_from_string(prepare("detector.onnx", exported, "fp32", 10).data)
    assert [value.name for value in model.graph.input] == ["pixels"]
    (threshold,) = [item for item in model.graph.initializer if item.name == "score_threshold"]
    assert numpy_helper.to_array(threshold) == np.float32(golden_config().score_threshold)


def test_every_data_dependent_size_is_bounded(exported):
    """Each NonMaxSuppression is followed by a TopK with a constant k; NonZero has inputs of fixed size."""
    model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(exported), data_prop=True)
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in model.graph.value_info
    }
    nodes = {node.output[0]: node for node in model.graph.node}
    chosen = [node for node in model.graph.node if node.op_type == "NonZero"]
    assert [shapes[node.input[0]] for node in chosen] == [[golden_config().detections_per_image]]
    pooled = [node for node in model.graph.node if node.op_type == "RoiAlign"]
    assert {shapes[node.input[1]][0] for node in pooled} == {
        golden_config().post_nms_topk,
        golden_config().detections_per_image,
    }
    assert all(0 not in shapes[name] for name in nodes if "roi_heads" in name)


def test_no_empty_box_reaches_the_pooling():
    """TensorRT's plugin divides by the number of samples, which is zero for such a box."""
    import torch

    from vim_deploy.dense import roi

    seen = []
    plain, levels = roi.roi_align, tuple(torch.ones(1, 1, 2 ** (9 - n), 2 ** (9 - n)) for n in range(2, 6))
    boxes = torch.tensor([[0.0, 0, 0, 0], [5, 5, 5, 30], [10, 10, 60, 60], [10, 10, 400, 400]])

    def watching(level, boxes, scale, size):
        seen.append(boxes)
        return plain(level, boxes, scale, size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(roi, "roi_align", watching)
        pooled = roi.pool(levels, boxes, 7)
    assert all(((given[:, 2:] - given[:, :2]) > 0).all() for given in seen)
    assert pooled[:2].eq(0).all()
    assert pooled[2:].isfinite().all()


def broken(exported, kind, edit, major=10):
    model = onnx.load_model_from_string(exported)
    node = next(node for node in model.graph.node if node.op_type == kind)
    edit(model, node)
    with pytest.raises(EngineError) as caught:
        prepare("detector.onnx", model.SerializeToString(), "fp32", major)
    return str(caught.value)


def plugin_layer(name, field="Name"):
    return {field: name, "LayerType": "PluginV2", "Inputs": [{"Format/Datatype": "Row major linear FP32"}]}


@pytest.mark.parametrize("field", ["Name", "Metadata"])
def test_the_plugins_of_roi_align_are_no_scans(fixed, field):
    prepared = prepare("detector.onnx", fixed, "fp32", 8)
    assert len(prepared.other_plugins) == 4 * (3 + 1)  # levels, stages and masks
    scans, others = (
        [plugin_layer(name, field) for name in names] for names in (prepared.scans, prepared.other_plugins)
    )
    figures = check_precision({"Layers": scans + others}, prepared, "fp32")
    assert figures["plugins"] == len(scans)
    with pytest.raises(EngineError, match=f"has {len(scans) - 1} selective scans, the graph {len(scans)};"):
        check_precision({"Layers": scans[1:] + others}, prepared, "fp32")


def test_the_library_that_the_8_6_parser_needs_is_looked_for(tmp_path):
    """The wheels lack it, and the parser terminates the process."""
    trt = SimpleNamespace(__version__="8.6.0", __file__=str(tmp_path / "tensorrt" / "__init__.py"))
    with pytest.raises(
        MissingDependencyError, match=r"detector.onnx needs libnvinfer_vc_plugin\.so\.8 .*Install"
    ):
        load_roi_align(trt, "detector.onnx")
    load_roi_align(SimpleNamespace(__version__="10.0.1"), "detector.onnx")
    # As in an installation that has it; any library can be loaded.
    (tmp_path / "tensorrt_libs").mkdir()
    (tmp_path / "tensorrt_libs" / "libnvinfer_vc_plugin.so.8").symlink_to(_multiarray_umath.__file__)
    load_roi_align(trt, "detector.onnx")


def constant(place, value):
    def edit(model, node):
        model.graph.initializer.append(numpy_helper.from_array(np.array(value), "changed"))
        node.input[place] = "changed"

    return edit


def computed(place):
    def edit(model, node):
        source = node.input[place]
        model.graph.node.insert(0, helper.make_node("Identity", [source], ["computed"], name="made"))
        node.input[place] = "computed"

    return edit


def attribute(name, value):
    def edit(model, node):
        for item in [item for item in node.attribute if item.name == name]:
            node.attribute.remove(item)
        if value is not None:
            node.attribute.append(helper.make_attribute(name, value))

    return edit


@pytest.mark.parametrize(
    ("kind", "edit", "message"),
    [
        ("TopK", constant(1, [4000]), "k [4000]; expected at most 3840"),
        ("TopK", computed(1), "a k that is not constant"),
        ("TopK", attribute("sorted", 0), "with unsorted output"),
        ("NonMaxSuppression", computed(2), "its output size is unbounded"),
        ("NonMaxSuppression", constant(2, [6000]), "6000 boxes per class; expected at most 5000"),
        ("NonMaxSuppression", computed(4), "threshold that is not a constant scalar"),
        ("RoiAlign", attribute("mode", "mean"), "with mode"),
        ("RoiAlign", attribute("sampling_ratio", -1), "negative sampling ratio"),
        ("RoiAlign", attribute("sampling_ratio", None), "without sampling_ratio"),
    ],
)
def test_each_rule_for_detectors_is_checked(exported, kind, edit, message):
    assert message in broken(exported, kind, edit)


def test_a_detector_with_too_many_proposals_is_refused():
    config = golden_config().replace(pre_nms_topk=5000)
    model = Detector(config.with_vim(image_size=(256, 256)))
    data = to_onnx(DetectModule(model.eval())).SerializeToString()
    with pytest.raises(EngineError, match="expected at most 3840"):
        prepare("detector.onnx", data, "fp32", 10)


def test_8_6_reduces_no_integers():
    node = helper.make_node("ReduceMin", ["x"], ["y"], name="least", axes=[0])
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node], "g", [value("x", onnx.TensorProto.INT64, [4])], [value("y", onnx.TensorProto.INT64, [1])]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    assert list(lint(model, {"x": 7, "y": 7}, 8)) == [
        "node least: ReduceMin of integers, which 8.6 does not support"
    ]
    assert not list(lint(model, {"x": 7, "y": 7}, 10))
