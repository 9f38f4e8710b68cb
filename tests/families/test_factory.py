"""Networks from a user's function: export, build, inference, validation, and errors."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
import torch
from commands import run
from PIL import Image
from small_networks import classifier
from torch import nn

import vim_deploy
from vim_deploy.cli import build, export, infer, validate
from vim_deploy.errors import ConfigError
from vim_deploy.export.quantization import sites
from vim_deploy.families.factory_network import open_factory
from vim_deploy.families.family import FACTORY, ModelSource
from vim_deploy.ops import use_scan

pytestmark = pytest.mark.usefixtures("mamba_functions")
TARGET = "small_networks:classifier"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the weights of another seed, and the file exported with them."""
    folder = tmp_path_factory.mktemp("factory")
    torch.save({"state_dict": classifier(seed=1).state_dict()}, folder / "weights.pth")
    run(export, "--factory", TARGET, "--factory-args", "classes=5", "--checkpoint", folder / "weights.pth",
        "-o", folder / "x.onnx")  # fmt: skip
    run(build, folder / "x.onnx", "-o", folder / "x.engine")
    return folder


def test_the_file_has_the_network_and_its_preprocessing(place):
    model = onnx.load(place / "x.onnx")
    scans = {node.name: node for node in model.graph.node if node.op_type == "SelectiveScan"}
    assert set(scans) == {"cross/SelectiveScan", "mixer/SelectiveScan"}
    groups = {name: next(a.i for a in node.attribute if a.name == "groups") for name, node in scans.items()}
    assert groups == {"cross/SelectiveScan": 4, "mixer/SelectiveScan": 1}
    assert all(node.input[6] == "" for node in scans.values())
    assert "head.weight" in {item.name for item in model.graph.initializer}
    with vim_deploy.load(place / "x.engine") as opened:
        about = opened.metadata
        assert about.preprocessing.image_size == (32, 32) and about.preprocessing.std == (0.25, 0.25, 0.25)
        assert (about.variant, about.checkpoint["key"]) == (TARGET, "state_dict")
        assert about.parity["function_body"]["relative"] < 1e-4


def test_engine_equals_the_eager_network_with_the_reference(place):
    pixels = np.random.default_rng(0).standard_normal((20, 3, 32, 32), np.float32)
    with use_scan("reference"), torch.inference_mode():
        expected = classifier(seed=1)(torch.from_numpy(pixels)).numpy()
    with vim_deploy.load(place / "x.engine") as opened:
        found = opened.run(pixels)["logits"]
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    assert (found.argmax(1) == expected.argmax(1)).all()


def test_images_are_classified_and_the_artifacts_validated(place):
    Image.new("RGB", (40, 40), (200, 30, 90)).save(place / "image.png")
    run(infer, place / "x.engine", place / "image.png", "-o", place / "rows.csv", "--restart")
    assert "image.png" in (place / "rows.csv").read_text()
    run(validate, "--factory", TARGET, "--checkpoint", place / "weights.pth", place / "x.onnx",
        place / "x.engine", "--random", "2")  # fmt: skip


def test_another_network_is_found_by_validation(place):
    result = run(validate, "--factory", TARGET, place / "x.engine", "--random", "1", "--no-hard", code=1)
    assert "other weights" in result.output


def test_a_file_in_int8_is_close_to_the_network(place, monkeypatch):
    monkeypatch.setattr(sites, "MIN_DEPTH", 8)  # the network is small
    generator = np.random.default_rng(0)
    (place / "calibration").mkdir()
    for number in range(4):
        noise = Image.fromarray(generator.integers(0, 256, (32, 32, 3), np.uint8))
        noise.save(place / "calibration" / f"{number}.png")
    run(export, "--factory", TARGET, "--precision", "int8", "--calibrate", place / "calibration",
        "-o", place / "int8.onnx")  # fmt: skip
    model = onnx.load(place / "int8.onnx")
    assert any(node.op_type == "QuantizeLinear" for node in model.graph.node)


def test_int8_is_refused_for_named_arrays(place):
    options = ("--precision", "int8", "--calibrate", place, "-o", place / "raw.onnx")
    result = run(export, "--factory", TARGET, "--task", "raw", *options, code=2)
    assert "--precision int8 finds its ranges on images" in " ".join(result.output.split())


def test_features_are_those_of_forward_features(place):
    path = place / "features.onnx"
    run(export, "--factory", TARGET, "--task", "features", "-o", path)
    pixels = np.random.default_rng(0).standard_normal((2, 3, 32, 32), np.float32)
    with use_scan("reference"), torch.inference_mode():
        expected = classifier().forward_features(torch.from_numpy(pixels)).numpy()
    with vim_deploy.load(path) as opened:
        found = opened.run(pixels)["features"]
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factory": "small_networks"}, "expected package.module:function"),
        ({"factory": "no_such_package:network"}, "no_such_package"),
        ({"factory": "small_networks:nothing"}, "small_networks has no nothing"),
        ({"factory": TARGET, "factory_args": (("color", "1"),)}, "--factory-args do not fit"),
        ({"factory": "builtins:dict"}, "returned a dict"),
        ({"factory": "torch.nn:Identity"}, "give --image-size"),
    ],
)
def test_unusable_factories_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        open_factory(ModelSource(FACTORY, **options))


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save(classifier(classes=7).state_dict(), tmp_path / "other.pth")
    result = run(
        export, "--factory", TARGET, "--checkpoint", tmp_path / "other.pth", "-o", tmp_path / "x.onnx", code=2
    )
    assert "head.weight (has (7, 16), expected (5, 16))" in result.output


@pytest.mark.parametrize("arguments", [[], ["vim_tiny", "--factory", TARGET]])
def test_a_model_is_named_in_one_form(tmp_path, arguments):
    result = run(export, *arguments, "-o", tmp_path / "x.onnx", code=2)
    assert "give either MODEL or --factory" in result.output


class Net(nn.Module):
    default_cfg = {"input_size": (3, 8, 8), "mean": (0.0,) * 3, "std": (1.0,) * 3}  # noqa: RUF012

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(192, 4)

    def forward(self, pixels):
        return self.inner(pixels.flatten(1))


class DataDependent(Net):
    def inner(self, x):
        return self.linear(x) if x.sum() > 0 else self.linear(-x)


class FixedBatch(Net):
    def inner(self, x):
        return torch.stack([self.linear(row) for row in x])


class Unsupported(Net):
    def inner(self, x):
        return self.linear(torch.special.bessel_j0(x))


class LastState(Net):
    def inner(self, x):
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

        u = x[:, :12].unflatten(1, (3, 4))
        A = -torch.ones(3, 2)
        y, state = selective_scan_fn(u, u, A, u[:, :2], u[:, :2], return_last_state=True)
        return self.linear(x) + (state if self.uses_state else y).flatten(1)[:, :4]

    uses_state = True


class UnusedState(LastState):
    uses_state = False


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (DataDependent, r"DataDependent.*control flow depends on values"),
        (FixedBatch, r"fixes axis 0 of pixels.*--batch-size 1"),
        (Unsupported, r"bessel_j0.*no translation"),
        (LastState, "uses the last state of a scan"),
    ],
)
def test_networks_that_cannot_be_exported_are_explained(kind, message, tmp_path, monkeypatch):
    monkeypatch.setattr("small_networks.classifier", kind)
    result = run(export, "--factory", TARGET, "-o", tmp_path / "x.onnx", code=2)
    assert re.search(message, " ".join(result.output.split())), result.output
    assert not (tmp_path / "x.onnx").exists()


def test_a_last_state_that_is_not_used_is_exported(tmp_path, monkeypatch):
    monkeypatch.setattr("small_networks.classifier", UnusedState)
    run(export, "--factory", TARGET, "-o", tmp_path / "x.onnx")
