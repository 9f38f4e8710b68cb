"""vim-validate for networks with named arrays: whole outputs on given and on random arrays."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from commands import run
from small_networks import language_model

import vim_deploy
from vim_deploy.cli import validate

pytestmark = pytest.mark.usefixtures("mamba_functions")
TARGET = ("--factory", "small_networks:language_model")
AXES = {"tokens": {0: "batch", 1: "length"}, "mask": {0: "batch", 1: "length"}}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    examples = {"tokens": torch.randint(0, 11, (2, 6)), "mask": torch.ones(2, 6)}
    vim_deploy.export_module(
        language_model(), examples, folder / "x.onnx", output_names=["logits", "state"], dynamic_axes=AXES
    )
    vim_deploy.build(folder / "x.onnx", folder / "x.engine", threads=1)
    tokens = np.random.default_rng(0).integers(0, 11, (1, 20))
    np.savez(folder / "given.npz", tokens=tokens, mask=np.ones((1, 20), np.float32))
    return folder


def test_file_and_engine_equal_the_eager_network(place):
    artifacts = (place / "x.onnx", place / "x.engine")
    result = run(validate, *TARGET, *artifacts, "--arrays", place / "given.npz", "--sign", "--json")
    found = json.loads(result.stdout)
    assert found["passed"] and found["inputs"]["count"] == 5
    assert [item["mode"] for item in found["artifacts"]] == ["library", "function body", "engine"]
    groups = {group["kind"]: group for group in found["artifacts"][0]["against_float64"]["groups"]}
    assert groups["real"]["images"] == 1 and groups["random"]["images"] == 4
    assert 0 < groups["all"]["relative"] < 1e-4
    with vim_deploy.load(place / "x.engine") as model:
        assert "validated" in str(model.manifest.validated)


def test_other_weights_fail(place):
    options = ("--factory-args", "seed=1", "--random", "1", "--no-function-body")
    result = run(validate, *TARGET, place / "x.onnx", *options, code=1)
    assert "FAILED" in result.stdout, result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--layers",), "--layers: only for models that take images"),
        (("--images", "given.npz"), "--images: only for models that take images"),
        (("--random", "0"), "give --arrays or --random"),
        (("--arrays", "bad.npz"), "bad.npz: has the arrays tokens; the model takes tokens, mask"),
    ],
)
def test_unusable_options_are_refused(arguments, message, place, monkeypatch):
    monkeypatch.chdir(place)
    np.savez(place / "bad.npz", tokens=np.zeros((1, 3), np.int64))
    result = run(validate, *TARGET, place / "x.onnx", *arguments, code=2)
    assert message in result.stderr, result.output
