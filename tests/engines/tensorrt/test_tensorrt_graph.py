"""Preparing graphs for TensorRT: what is changed, and what is refused before TensorRT parses it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from golden_data import load_json
from onnx import TensorProto, helper, numpy_helper
from prepared_graph import runner
from small_exports import BLOCKS, IMAGE_SIZE, small_export
from small_onnx import scan_model

from vim_deploy.engines.tensorrt.graph import lint, prepare
from vim_deploy.engines.tensorrt.readback import check_precision
from vim_deploy.errors import EngineError
from vim_deploy.ops.signature import OP_NAME

MAJORS = (8, 10, 11)


def changed(edit, precision="fp32"):
    """A file with one scan after `edit(model, scan)`."""
    model = scan_model()
    edit(model, next(node for node in model.graph.node if node.op_type == OP_NAME))
    return prepare("model.onnx", model.SerializeToString(), precision, 10)


@pytest.mark.parametrize("major", MAJORS)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_exported_file_passes_for_every_version(precision, major):
    prepared = prepare("model.onnx", small_export(precision), precision, major)
    model = onnx.load_model_from_string(prepared.data)
    assert not model.functions
    scans = [node for node in model.graph.node if node.op_type == OP_NAME]
    assert len(scans) == 2 * BLOCKS
    assert prepared.scans == tuple(node.name for node in scans)
    for node in scans:
        attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        assert attributes["plugin_version"] == b"2"
        assert attributes["plugin_namespace"] == b"vim_deploy"
        assert prepared.types[node.input[0]] == prepared.types[node.output[0]] == precision
        assert prepared.types[node.input[2]] == "fp32"
    # Except for the plugin's node, the graph is valid ONNX.
    onnx.shape_inference.infer_shapes(model, check_type=True)


@pytest.mark.parametrize(
    ("precision", "major"), [*(("int8", major) for major in MAJORS), ("fp8", 10), ("fp8", 11)]
)
def test_quantized_matmuls_pass(precision, major):
    prepared = prepare("model.onnx", small_export(precision), precision, major, fuse=True)
    assert len(prepared.quantized) == 3 * BLOCKS
    assert prepared.fused == prepare("model.onnx", small_export("fp32"), "fp32", major, fuse=True).fused


@pytest.mark.parametrize(("precision", "spelling"), [("int8", "Int8"), ("fp8", "FP8")])
def test_matmuls_of_a_quantized_file_must_be_in_its_type(precision, spelling):
    prepared = prepare("model.onnx", small_export(precision), precision, 10)
    scans = [layer(name, "PluginV3", "Float") for name in prepared.scans]
    matmuls = [layer(name, "MatrixMultiply", spelling) for name in prepared.quantized]
    others = [layer("layers.0.mixer/MatMul", "MatrixMultiply", "Float")]
    figures = check_precision({"Layers": [*scans, *matmuls, *others]}, prepared, precision)
    assert figures["block_matmuls"] == len(matmuls)
    matmuls[0] = layer(prepared.quantized[0], "MatrixMultiply", "Float")
    with pytest.raises(
        EngineError, match=rf"the file is in {precision}, but TensorRT built .*MatMul in fp32"
    ):
        check_precision({"Layers": [*scans, *matmuls, *others]}, prepared, precision)


def layer(name: str, kind: str, type: str) -> dict[str, object]:
    """A layer as TensorRT 10's inspector describes it."""
    return {"Name": name, "LayerType": kind, "Inputs": [{"Format/Datatype": type}], "Outputs": []}


def test_nothing_but_functions_attributes_and_slices_changes():
    before, after = (
        onnx.load_model_from_string(data)
        for data in (small_export("fp32"), prepare("m", small_export("fp32"), "fp32", 10).data)
    )
    slices = {node.name for node in before.graph.node if node.op_type == "Slice"}
    kept = [[node.name for node in model.graph.node if node.name not in slices] for model in (before, after)]
    assert kept[0] == kept[1]
    constants = {item.name: item for item in after.graph.initializer}
    assert all(constants.pop(item.name) == item for item in before.graph.initializer)
    assert all(name.endswith("/sizes") for name in constants)
    assert (before.graph.input, before.graph.output) == (after.graph.input, after.graph.output)


def test_integers_are_clipped_to_32_bits_only_for_8_6():
    def integers(major):
        model = onnx.load_model_from_string(prepare("m", small_export("fp32"), "fp32", major).data)
        values = (numpy_helper.to_array(item) for item in model.graph.initializer if item.data_type == 7)
        return max(int(np.abs(value).max()) for value in values if value.size)

    assert integers(8) <= 2**31 - 1
    assert integers(10) >= 2**31 - 1


@pytest.mark.parametrize(("precision", "kind"), [("fp16", 10), ("bf16", 16)])
def test_casts_around_matmuls_change_only_their_accumulation(precision, kind):
    data = small_export(precision)
    plain = onnx.load_model_from_string(prepare("m", data, precision, 10).data)
    prepared = prepare("m", data, precision, 10, fp32_accumulation=True)
    model = onnx.load_model_from_string(prepared.data)
    casts = {node.output[0]: node for node in model.graph.node if node.op_type == "Cast"}
    matmuls = [node for node in model.graph.node if node.name.endswith("in_proj/MatMul")]
    assert len(matmuls) == BLOCKS
    for node in matmuls:
        assert all(prepared.types[casts[name].input[0]] == precision for name in node.input)
        assert all(casts[name].attribute[0].i == TensorProto.FLOAT for name in node.input)
        (back,) = [cast for cast in casts.values() if cast.input[0] == node.output[0]]
        assert back.attribute[0].i == kind
    pixels = np.random.default_rng(0).standard_normal((3, 3, *IMAGE_SIZE), np.float32)
    # ONNX Runtime runs both in float32, so that nothing but the casts could differ.
    assert np.array_equal(runner(plain)(pixels)[0], runner(model)(pixels)[0])


def test_bfloat16_is_for_10_and_later():
    assert prepare("m", small_export("bf16"), "bf16", 10).types
    with pytest.raises(EngineError, match=r"with TensorRT 8: bfloat16 tensors.*--precision fp16"):
        prepare("m", small_export("bf16"), "bf16", 8)


def test_a_graph_in_another_precision_than_its_metadata_is_refused():
    with pytest.raises(EngineError, match=r"says fp16, but node layers\.0\.mixer/SelectiveScan is fp32"):
        prepare("m", small_export("fp32"), "fp16", 10)


def _set(name, value):
    def edit(model, scan):
        for attribute in list(scan.attribute):
            if attribute.name == name:
                scan.attribute.remove(attribute)
        scan.attribute.append(helper.make_attribute(name, value))

    return edit


def _leave_out_skip(model, scan):
    scan.input[5] = ""


def _half_skip(model, scan):
    item = next(item for item in model.graph.initializer if item.name == "D")
    item.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(item).astype(np.float16), "D"))


def _add(op_type, **attributes):
    def edit(model, scan):
        model.graph.node.insert(
            0, helper.make_node(op_type, ["pixels"], ["extra"], name="extra", **attributes)
        )

    return edit


def _newer_opset(model, scan):
    model.opset_import[0].version = 23


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_set("delta_softplus", 2), "attribute delta_softplus is not an integer 0 or 1"),
        (_set("reverse", 1.0), "attribute reverse is not an integer 0 or 1"),
        (_set("chunk", 4), "attribute chunk is not an attribute of the plugin"),
        (_set("groups", 0), "attribute groups is not an integer of 1 or more"),
        (_leave_out_skip, "the plugin has 8, none left out"),
        (_half_skip, "input 5 has ONNX type 10, the plugin expects 1"),
        (_add("NonMaxSuppressionLike"), "its parser does not support the operator NonMaxSuppressionLike"),
        (_newer_opset, "opset 23, but its parser supports at most 20"),
    ],
)
def test_each_rule_of_the_parser_is_checked(edit, message):
    with pytest.raises(EngineError, match=message):
        changed(edit)


def test_a_scan_without_gate_gets_u_in_the_place_of_z():
    model = scan_model()
    scan = next(node for node in model.graph.node if node.op_type == OP_NAME)
    scan.input[6] = ""
    for attribute in scan.attribute:
        if attribute.name == "groups":
            attribute.i = 2
    prepared = onnx.load_model_from_string(prepare("m", model.SerializeToString(), "fp32", 10).data)
    (node,) = (node for node in prepared.graph.node if node.op_type == OP_NAME)
    attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    assert (attributes["gated"], attributes["groups"]) == (0, 2)
    assert node.input[6] == node.input[0]


def test_gelu_is_not_supported_by_8_6():
    model = helper.make_model(
        helper.make_graph([helper.make_node("Gelu", ["x"], ["y"], name="g")], "g", [], [])
    )
    del model.opset_import[:]
    assert any("Gelu" in problem for problem in lint(model, {}, 8))
    assert not list(lint(model, {}, 10))


def test_reciprocal_is_supported_by_8_6():
    model = scan_model()
    del model.functions[:], model.graph.node[:]
    model.graph.node.append(helper.make_node("Reciprocal", ["pixels"], ["y"], name="r"))
    assert not list(lint(model, {}, 8))


def test_a_function_body_left_in_is_found():
    model = scan_model()
    assert any("local function SelectiveScan" in problem for problem in lint(model, {}, 10))


def test_wrong_plugin_strings_are_found():
    model = scan_model()
    del model.functions[:]
    problems = list(lint(model, {}, 10))
    assert any("plugin_version is not the string '2'" in problem for problem in problems)
    assert any("plugin_namespace is not the string 'vim_deploy'" in problem for problem in problems)


FORMS = {
    "doublecls", "nocls_max", "nocls_mean", "rope_nocls", "layernorm", "layer_scale", "bimamba_v1",
    "unidirectional", "paired_bidirectional",
}  # fmt: skip


@pytest.mark.slow
def test_all_model_variants_pass_for_every_version():
    from vim_deploy.export.onnx import to_onnx
    from vim_deploy.export.reduced import in_precision
    from vim_deploy.model import VimConfig, VisionMamba
    from vim_deploy.tasks.classify.export import ClassifyModule

    cases = [case for case in load_json("models")["cases"] if case["name"] in FORMS]
    assert len(cases) == len(FORMS)
    for case in cases:
        config = VimConfig.from_reference(case["flags"])
        # More blocks have the same operators.
        model = VisionMamba(config.replace(depth=2 if config.paired else 1)).eval()
        data = to_onnx(ClassifyModule(in_precision(model, "fp16"))).SerializeToString()
        for major in MAJORS:
            assert prepare(case["name"], data, "fp16", major).scans
