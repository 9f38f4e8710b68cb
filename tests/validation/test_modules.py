"""The modules of networks from factories, compared by name: faults in a file are located at a module."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch
from commands import run
from onnx import numpy_helper
from torch import nn

pytest.importorskip("onnxruntime", reason="running exported files needs onnxruntime")

from vim_deploy.cli import build, export, validate
from vim_deploy.validation.layers import worst_slice
from vim_deploy.validation.modules import chosen_modules

pytestmark = pytest.mark.usefixtures("mamba_functions")
BLOCKS = ("blocks.0", "blocks.1", "blocks.2")
FEW = ("--random", "1", "--no-hard", "--no-function-body", "--layers")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("modules")
    for name in ("classifier", "deep_classifier"):
        run(export, "--factory", f"small_networks:{name}", "-o", folder / f"{name}.onnx")
    return folder


def layers_of(path, name="deep_classifier", code=0):
    result = run(validate, "--factory", f"small_networks:{name}", path, *FEW, "--json", code=code)
    (artifact,) = json.loads(result.stdout)["artifacts"]
    return artifact["layers"], artifact["reasons"]


def changed(place, weight):
    """The file with one weight that is larger by a percent."""
    model = onnx.load(place / "deep_classifier.onnx")
    item = next(item for item in model.graph.initializer if item.name == weight)
    values = numpy_helper.to_array(item).copy()
    values.flat[0] += 0.01 * np.abs(values).max()
    item.CopyFrom(numpy_helper.from_array(values, weight))
    path = place / "changed.onnx"
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("kind", ["onnx", "engine"])
def test_correct_files_have_no_fault(place, kind):
    path = place / f"deep_classifier.{kind}"
    if kind == "engine":
        run(build, place / "deep_classifier.onnx", "-o", path)
    layers, _ = layers_of(path)
    assert layers["first_fault"] is None
    assert [part["name"] for part in layers["parts"]] == ["patch", *BLOCKS, "head.0", "head.1"]
    # Far enough below the limits that another CPU's order of summation does not exceed them.
    assert max(part["local_error"] / part["limit"] for part in layers["parts"]) < 0.1
    assert layers["not_compared"] == [{"name": "norm", "reason": "is called 2 times"}]


@pytest.mark.parametrize("block", BLOCKS)
def test_a_fault_in_the_weights_of_a_block_is_located_there(place, block):
    layers, reasons = layers_of(changed(place, f"{block}.conv_x.weight"), code=1)
    assert layers["first_fault"] == block
    # Later blocks inherit the error without a local error.
    assert [part["name"] for part in layers["parts"] if part["exceeds_limit"]] == [block]
    assert any(f"first exceeds its limit at {block}" in reason for reason in reasons)


def test_the_plot_and_the_page_show_modules(place):
    pytest.importorskip("matplotlib", reason="plots need matplotlib")
    path, page = place / "plot.svg", place / "page.html"
    run(validate, "--factory", "small_networks:deep_classifier", place / "deep_classifier.onnx", *FEW,
        "--plot", path, "--html", page)  # fmt: skip
    assert path.stat().st_size > 1000
    assert "is called 2 times" in page.read_text() and "blocks.2" in page.read_text()


def test_modules_that_are_not_compared_are_counted_and_named(place):
    result = run(
        validate, "--factory", "small_networks:deep_classifier", place / "deep_classifier.onnx", *FEW
    )
    assert "1 module not compared" in result.output and "norm" in result.output


def test_modules_with_a_scan_are_compared_without_a_list(place):
    layers, _ = layers_of(place / "classifier.onnx", "classifier")
    assert [part["name"] for part in layers["parts"]] == ["patch", "cross", "mixer", "norm", "head"]
    assert layers["passed"] and layers["not_compared"] == []


def test_no_module_in_the_graph_is_an_error(place):
    model = onnx.load(place / "classifier.onnx")
    for node in model.graph.node:
        node.name = f"other.{node.name}"
    path = place / "renamed.onnx"
    onnx.save(model, path)
    result = run(validate, "--factory", "small_networks:classifier", path, *FEW, code=2)
    assert "none of 5 modules" in result.output and "patch has no nodes in the graph" in result.output


def test_a_block_has_no_number(place):
    result = run(validate, "--factory", "small_networks:classifier", place / "classifier.onnx", *FEW,
                 "--block", "0", code=2)  # fmt: skip
    assert "drop --block" in result.output


def test_containers_are_replaced_by_their_elements():
    block = nn.Sequential(nn.Linear(2, 2), nn.ModuleDict({"inner": nn.Linear(2, 2)}))
    network = nn.Module()
    network.stages = nn.ModuleList([block])
    network.stem = nn.TransformerEncoderLayer(4, 1)
    names = chosen_modules(network, onnx.ModelProto())
    assert names == ["stages.0.0", "stages.0.1.inner", "stem"]


@pytest.mark.parametrize("shape", [(2, 5), (2, 3, 4, 5, 6)])
def test_one_wrong_channel_shows_in_outputs_of_any_rank(shape):
    expected = torch.ones(shape).numpy()
    found = expected.copy()
    found[..., 2] += 0.5
    assert worst_slice(expected, found) == pytest.approx(0.5)
