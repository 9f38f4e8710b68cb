"""ONNX files that are refused before a runtime loads them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from small_onnx import color_model, metadata, save, scan_model

from vim_deploy.data.preprocess import Preprocessing
from vim_deploy.engines.source import read_source
from vim_deploy.errors import EngineError


def test_reads_what_export_writes(tmp_path):
    source = read_source(save(scan_model(), tmp_path / "scan.onnx"))
    assert source.uses_operator
    assert source.input.shape == (None, 1, 4, 6)
    assert [spec.name for spec in source.outputs] == ["logits"]
    assert not read_source(save(color_model(4), tmp_path / "colors.onnx")).uses_operator


def _external(location: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return change


def _gigantic(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [1 << 40, 1 << 20]


def _negative(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [-1]


def _unknown_domain(model: onnx.ModelProto) -> None:
    model.graph.node[1].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))


def _hidden_unknown(model: onnx.ModelProto) -> None:
    branch = helper.make_graph([helper.make_node("Run", [], ["x"], domain="com.example")], "branch", [], [])
    model.graph.node.append(helper.make_node("If", ["ten"], ["y"], then_branch=branch, else_branch=branch))


def _unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node[1].op_type = "Multiply"


def _unknown_function(model: onnx.ModelProto) -> None:
    model.graph.node[1].domain, model.graph.node[1].op_type = "vim_deploy", "Scan2"


def _other_contract(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("vim_deploy", 7))


def _missing_input(model: onnx.ModelProto) -> None:
    model.graph.node[1].input[0] = "nowhere"


def _string_output(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Cast", ["logits"], ["text"], to=TensorProto.STRING))
    model.graph.output.append(helper.make_tensor_value_info("text", TensorProto.STRING, ["batch", 3]))


def _two_inputs(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


def _half_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16


def _other_output(model: onnx.ModelProto) -> None:
    model.graph.node[1].output[0] = model.graph.output[0].name = "scores"


def _unknown_type(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].data_type = 29


def _unknown_input_type(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = 29


def _negative_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -3


def _no_metadata(model: onnx.ModelProto) -> None:
    del model.metadata_props[:]


def _damaged_metadata(model: onnx.ModelProto) -> None:
    helper.set_model_props(model, {**metadata().to_props(), "vim_deploy.class_names": "7"})


def _other_size(model: onnx.ModelProto) -> None:
    preprocessing = Preprocessing((16, 16), 1.0)
    helper.set_model_props(model, metadata(preprocessing=preprocessing).to_props())


def _unusable_preprocessing(model: onnx.ModelProto) -> None:
    helper.set_model_props(model, {**metadata().to_props(), "vim_deploy.preprocessing": '{"mean": 1}'})


def _four_names(model: onnx.ModelProto) -> None:
    helper.set_model_props(model, metadata(class_names=tuple("abcd")).to_props())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_external("../../etc/passwd"), r"another file \(../../etc/passwd\)"),
        (_external("weights.bin"), "another file"),
        (_gigantic, "larger than the file"),
        (_negative, "larger than the file"),
        (_unknown_domain, "unknown operator com.example::Mul"),
        (_hidden_unknown, "unknown operator com.example::Run"),
        (_unknown_operator, "not valid ONNX.*Multiply"),
        (_unknown_function, "unknown operator vim_deploy::Scan2"),
        (_other_contract, "needs version 7"),
        (_missing_input, "not valid ONNX"),
        (_two_inputs, "has inputs"),
        (_string_output, "expected numbers"),
        (_half_input, "has inputs"),
        (_other_output, r"expected \['logits'\]"),
        (_unknown_type, "element type 29"),
        (_unknown_input_type, "is not a tensor|not valid ONNX"),
        (_negative_batch, "expected 1 to"),
        (_no_metadata, "no metadata field"),
        (_damaged_metadata, "unusable metadata"),
        (_other_size, "preprocessing gives"),
        (_unusable_preprocessing, "unusable metadata"),
        (_four_names, "3 logits and 4 class names"),
    ],
)
def test_refused(tmp_path: Path, change, message):
    model = color_model()
    change(model)
    with pytest.raises(EngineError, match=message):
        read_source(save(model, tmp_path / "model.onnx"))


@pytest.mark.parametrize("content", [b"", b"not protobuf at all", b"PK\x03\x04"])
def test_other_files(tmp_path, content):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(EngineError):
        read_source(path)


def test_truncated_file(tmp_path):
    path = save(scan_model(), tmp_path / "model.onnx")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(EngineError):
        read_source(path)


def test_too_large(tmp_path):
    path = tmp_path / "model.onnx"
    with path.open("wb") as file:
        file.truncate(1 << 31)  # sparse: needs no disk space
    with pytest.raises(EngineError, match="at most"):
        read_source(path)


def test_paths_that_are_not_regular_files(tmp_path):
    for path in (tmp_path, tmp_path / "missing.onnx", Path("/dev/zero")):
        with pytest.raises(EngineError, match=r"regular file|No such file|Is a directory"):
            read_source(path)


def test_a_file_with_version_1_of_the_operator_names_the_command_that_exports_it_again(tmp_path: Path):
    model = color_model()
    model.opset_import.append(helper.make_opsetid("vim_deploy", 1))
    path = save(model, tmp_path / "old.onnx")
    about = metadata()
    command = f"vim-export {about.variant} .*--task classify --image-size .* -o {re.escape(str(path))}"
    with pytest.raises(EngineError, match=f"needs version 1 .*this vim-deploy has version 2.*{command}"):
        read_source(path)
