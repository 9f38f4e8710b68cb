"""Graphs that are refused before a runtime, a checker or a shape inference processes them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_onnx import color_model, save, scan_model

from vim_deploy.data.preprocess import Preprocessing
from vim_deploy.engines.graph_check import check_sizes
from vim_deploy.engines.source import read_source
from vim_deploy.errors import EngineError


def external() -> onnx.TensorProto:
    """A tensor of four values in a file of the working directory."""
    tensor = onnx.TensorProto(
        name="hidden", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL
    )
    tensor.external_data.add(key="location", value="secret")
    return tensor


def sparse(values: onnx.TensorProto) -> onnx.SparseTensorProto:
    indices = numpy_helper.from_array(np.arange(4, dtype=np.int64), "indices")
    return helper.make_sparse_tensor(values, indices, [16])


def small_sparse() -> onnx.SparseTensorProto:
    return sparse(numpy_helper.from_array(np.ones(4, np.float32), "values"))


def body(*nodes: onnx.NodeProto, **fields: Any) -> onnx.GraphProto:
    return onnx.GraphProto(name="body", node=nodes, **fields)


def scan(graph: onnx.GraphProto) -> onnx.NodeProto:
    return helper.make_node("Scan", ["pixels"], ["scanned"], body=graph, num_scan_inputs=1)


def function_with(node: onnx.NodeProto, **fields: Any) -> onnx.FunctionProto:
    opsets = [helper.make_opsetid("", 17)]
    return onnx.FunctionProto(
        domain="vim_deploy", name="Other", node=[node], output=["y"], opset_import=opsets, **fields
    )


def constant(**attribute: Any) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["y"], **attribute)


def _sparse_attribute(model: onnx.ModelProto) -> None:
    model.graph.node.append(constant(sparse_value=sparse(external())))


def _sparse_attributes(model: onnx.ModelProto) -> None:
    attribute = onnx.AttributeProto(
        name="values", type=onnx.AttributeProto.SPARSE_TENSORS, sparse_tensors=[small_sparse()]
    )
    model.graph.node.append(onnx.NodeProto(op_type="Identity", output=["y"], attribute=[attribute]))


def _sparse_initializer(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.append(small_sparse())


def _sparse_initializer_of_a_subgraph(model: onnx.ModelProto) -> None:
    model.graph.node.append(scan(body(sparse_initializer=[sparse(external())])))


def _initializer_of_a_subgraph(model: onnx.ModelProto) -> None:
    model.graph.node.append(scan(body(initializer=[external()])))


def _tensors_attribute(model: onnx.ModelProto) -> None:
    attribute = onnx.AttributeProto(name="values", type=onnx.AttributeProto.TENSORS, tensors=[external()])
    model.graph.node.append(onnx.NodeProto(op_type="Identity", output=["y"], attribute=[attribute]))


def _default_attribute_of_a_function(model: onnx.ModelProto) -> None:
    default = onnx.AttributeProto(name="value", type=onnx.AttributeProto.TENSOR, t=external())
    model.functions.append(function_with(constant(value_float=1.0), attribute_proto=[default]))


def _training(model: onnx.ModelProto) -> None:
    model.training_info.add().algorithm.initializer.append(external())


def _edited_function(model: onnx.ModelProto) -> None:
    model.functions[0].node[0].attribute[0].ints[0] = 2


def _long_chain(model: onnx.ModelProto) -> None:
    for index in range(3000):
        node = helper.make_node(f"F{index + 1}", [], ["y"], domain="vim_deploy")
        model.functions.append(onnx.FunctionProto(domain="vim_deploy", name=f"F{index}", node=[node]))


def _endless_functions(model: onnx.ModelProto) -> None:
    model.functions.append(function_with(helper.make_node("Other", [], ["y"], domain="vim_deploy")))


def _endless_loop(model: onnx.ModelProto) -> None:
    inputs = [helper.make_tensor_value_info(name, kind, []) for name, kind in (("i", 7), ("go", 9))]
    graph = onnx.GraphProto(name="body", input=inputs, output=[inputs[1]])
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "true"))
    model.graph.node.append(helper.make_node("Loop", ["", "true"], [], body=graph))


def _nested_scans(model: onnx.ModelProto) -> None:
    model.graph.node.append(scan(body(scan(body()))))


def _terminal_sequence(model: onnx.ModelProto) -> None:
    model.graph.node[0].name = "\x1b]0;title\a"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_sparse_attribute, "sparse tensors"),
        (_sparse_attributes, "sparse tensors"),
        (_sparse_initializer, "sparse tensors"),
        (_sparse_initializer_of_a_subgraph, "sparse tensors"),
        (_initializer_of_a_subgraph, r"another file \(secret\)"),
        (_tensors_attribute, r"another file \(secret\)"),
        (_default_attribute_of_a_function, r"another file \(secret\)|defines the function"),
        (_training, "training information"),
        (_edited_function, "defines the function vim_deploy::SelectiveScan"),
        (_long_chain, "defines the function"),
        (_endless_functions, "defines the function vim_deploy::Other"),
        (_endless_loop, r"\(Loop\) has a subgraph"),
        (_nested_scans, r"\(Scan\) has a subgraph"),
        (_terminal_sequence, r"'\\x1b\]0;title\\x07' has a name"),
    ],
)
def test_refused(tmp_path: Path, change, message):
    model = scan_model()
    change(model)
    with pytest.raises(EngineError, match=message):
        read_source(save(model, tmp_path / "model.onnx"))


def _filled(model: onnx.ModelProto) -> None:
    shape = numpy_helper.from_array(np.array([1 << 34], np.int64), "shape")
    model.graph.initializer.append(shape)
    model.graph.node.append(helper.make_node("ConstantOfShape", ["shape"], ["filled"]))


def _range(model: onnx.ModelProto) -> None:
    for name, value in (("start", 0), ("end", 1 << 40), ("step", 1)):
        model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.int64), name))
    model.graph.node.append(helper.make_node("Range", ["start", "end", "step"], ["numbers"]))


def _false_shape(model: onnx.ModelProto) -> None:
    _filled(model)
    model.graph.value_info.append(helper.make_tensor_value_info("filled", TensorProto.FLOAT, [1]))


@pytest.mark.parametrize("change", [_filled, _range, _false_shape])
def test_gigantic_results_are_refused(tmp_path: Path, change):
    model = color_model()
    change(model)
    with pytest.raises(EngineError, match=r"expected at most \d+ elements|not valid ONNX"):
        read_source(save(model, tmp_path / "model.onnx"))


def test_gigantic_results_of_a_dynamic_input_are_refused(tmp_path: Path):
    """The input is within the limit, but the convolution has 64 channels of its size."""
    preprocessing = Preprocessing((8192, 8192), 1.0, (0.0,) * 3, (1.0,) * 3)
    model = color_model(preprocessing=preprocessing)
    for size in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        size.dim_param = "side"
    weight = numpy_helper.from_array(np.zeros((64, 3, 1, 1), np.float32), "weight")
    model.graph.initializer.append(weight)
    model.graph.node.append(helper.make_node("Conv", ["pixels", "weight"], ["convolved"]))
    with pytest.raises(EngineError, match="'convolved' has the sizes"):
        read_source(save(model, tmp_path / "model.onnx"))


def test_a_vector_whose_values_would_be_propagated_is_not_expanded(tmp_path: Path):
    """Propagating them needs 150 bytes for each of 64 * 2 ** 22 elements."""
    model = color_model()
    model.graph.initializer.append(numpy_helper.from_array(np.arange(64), "v0"))
    for index in range(22):
        inputs = [f"v{index}"] * 2
        model.graph.node.append(helper.make_node("Concat", inputs, [f"v{index + 1}"], axis=0))
    path = save(model, tmp_path / "model.onnx")
    program = "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30)); "
    program += "from vim_deploy.engines.source import read_source; read_source(sys.argv[1])"
    subprocess.run([sys.executable, "-c", program, str(path)], check=True)


def test_errors_of_the_shape_inference_are_messages(tmp_path: Path):
    model = color_model()
    model.graph.node.append(helper.make_node("Reshape", ["ten"], ["reshaped"]))
    save(model, tmp_path / "model.onnx")
    with pytest.raises(EngineError, match=r"model\.onnx is not valid ONNX"):
        check_sizes("model.onnx", model, {"pixels": (2, 3, 8, 8)})


@pytest.mark.parametrize("dims", [[2], []])
def test_tensors_whose_data_do_not_fit_their_shape_are_refused(tmp_path: Path, dims):
    model = color_model()
    model.graph.initializer[0].dims[:] = dims
    model.graph.initializer[0].raw_data += bytes(8)
    with pytest.raises(EngineError, match="tensor 'ten' cannot be read"):
        read_source(save(model, tmp_path / "model.onnx"))
