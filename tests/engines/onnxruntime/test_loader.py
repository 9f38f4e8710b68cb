"""ONNX Runtime itself reads no data outside a model: the second barrier behind our own checks."""

from __future__ import annotations

import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from vim_deploy.engines.onnxruntime.session import make_session, runtime
from vim_deploy.errors import EngineError, MissingDependencyError

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="the ONNX Runtime versions for Python 3.10 read such data"
)
MEMORY = np.arange(4, dtype=np.float32)


def model(values: onnx.TensorProto, sparse: bool) -> bytes:
    """y = x + a constant whose values are stored elsewhere."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy")
    attribute = {"value": values}
    if sparse:
        indices = numpy_helper.from_array(np.arange(4), "indices")
        attribute = {"sparse_value": onnx.SparseTensorProto(values=values, indices=indices, dims=[4])}
    nodes = [helper.make_node("Constant", [], ["w"], **attribute), helper.make_node("Add", ["x", "w"], ["y"])]
    graph = helper.make_graph(nodes, "outside", [x], [y])
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("kind", ["parent folder", "absolute path", "link", "address"])
def test_data_outside_the_model_is_refused(tmp_path, monkeypatch, kind, sparse):
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path / "folder")
    MEMORY.tofile(tmp_path / "secret")
    (tmp_path / "folder" / "link").symlink_to(tmp_path / "secret")
    places = {
        "parent folder": {"location": "../secret"},
        "absolute path": {"location": str(tmp_path / "secret")},
        "link": {"location": "link"},
        "address": {
            "location": "*/_ORT_MEM_ADDR_/*",
            "offset": str(MEMORY.ctypes.data),
            "length": str(MEMORY.nbytes),
        },
    }
    values = onnx.TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=1)
    for key, value in places[kind].items():
        values.external_data.add(key=key, value=value)
    with pytest.raises(EngineError, match="does not load"):
        make_session(model(values, sparse), optimization="none", quiet=True)


def test_older_versions_are_refused(monkeypatch):
    module = runtime()
    monkeypatch.setattr(module, "__version__", "1.26.0")
    with pytest.raises(MissingDependencyError, match=r"onnxruntime 1\.26\.0 is installed; expected 1\.27"):
        runtime()
