"""GELU in exported networks becomes one node of ONNX Runtime."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import vim_deploy
from vim_deploy.engines.onnxruntime.fusion.activations import fuse_activations
from vim_deploy.engines.onnxruntime.session import make_session


class Activations(nn.Module):
    def forward(self, x):
        return nn.functional.gelu(x) + nn.functional.gelu(2 * x, approximate="tanh")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("gelu") / "x.onnx"
    vim_deploy.export_module(Activations(), torch.ones(4, 5), path)
    return path


def test_both_forms_are_fused_and_compute_the_same(file):
    model = onnx.load(file)
    assert fuse_activations(model) == {"Gelu": 1, "FastGelu": 1}
    left = Counter(node.op_type for node in model.graph.node)
    assert left == {"Gelu": 1, "FastGelu": 1, "Mul": 1, "Add": 1}
    x = np.linspace(-6, 6, 20, dtype=np.float32).reshape(4, 5)
    (found,) = make_session(model.SerializeToString()).run(None, {"input0": x})
    np.testing.assert_allclose(found, Activations()(torch.from_numpy(x)).numpy(), atol=1e-6)


@pytest.mark.parametrize("value", [0.5, 1.0, 2**0.5, 0.044715])
def test_other_constants_are_not_fused(value, file):
    model = onnx.load(file)
    for tensor in model.graph.initializer:
        if np.isclose(onnx.numpy_helper.to_array(tensor), value).all():
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.array(value * 1.01, np.float32), tensor.name))
    counts = fuse_activations(model)
    assert sum(counts.values()) < 2


def test_an_intermediate_value_that_is_used_elsewhere_is_kept(file):
    model = onnx.load(file)
    (erf,) = (node for node in model.graph.node if node.op_type == "Erf")
    model.graph.output.append(onnx.helper.make_tensor_value_info(erf.output[0], 1, [4, 5]))
    assert fuse_activations(model) == {"FastGelu": 1}
