"""Networks given as objects: named arrays of any rank, images, and errors."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from commands import run
from PIL import Image
from small_networks import classifier, language_model
from torch import nn

import vim_deploy
from vim_deploy.cli import build, infer
from vim_deploy.errors import ConfigError, EngineError, ExportError
from vim_deploy.ops import use_scan

pytestmark = pytest.mark.usefixtures("mamba_functions")
LENGTHS = {"tokens": {0: "batch", 1: "length"}, "mask": {0: "batch", 1: "length"}}


def examples(batch=2, length=6):
    random = torch.Generator().manual_seed(0)
    return {
        "tokens": torch.randint(0, 11, (batch, length), generator=random),
        "mask": torch.ones(batch, length),
    }


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("raw") / "prefill.onnx"
    vim_deploy.export_module(
        language_model(), examples(), path, output_names=["logits", "state"], dynamic_axes=LENGTHS
    )
    return path


@pytest.mark.parametrize("sizes", [(2, 6), (1, 1), (3, 40)])
def test_arrays_by_name_equal_the_eager_network(exported, sizes):
    given = examples(*sizes)
    with use_scan("reference"), torch.inference_mode():
        expected = language_model()(*given.values())
    with vim_deploy.load(exported) as model:
        found = model.run(**given)
    assert list(found) == ["logits", "state"]
    for values, reference in zip(found.values(), expected, strict=True):
        assert np.abs(values - reference.numpy()).max() <= 1e-4 * reference.abs().max()
    assert (found["logits"].argmax(-1) == expected[0].argmax(-1).numpy()).all()


def test_the_file_names_inputs_outputs_and_axes(exported):
    graph = onnx.load(exported).graph
    names = [
        (value.name, [dim.dim_param for dim in value.type.tensor_type.shape.dim]) for value in graph.input
    ]
    assert names == [("tokens", ["batch", "length"]), ("mask", ["batch", "length"])]
    assert [value.name for value in graph.output] == ["logits", "state"]
    assert sum(node.op_type == "SelectiveScan" for node in graph.node) == 2
    with vim_deploy.load(exported, task="raw") as model:
        assert [spec.name for spec in model.inputs] == ["tokens", "mask"]
        assert model.metadata.parity["library"]["relative"] < 1e-4
        assert "tokens, mask" in repr(model)


def test_an_engine_without_the_library_gives_the_same(exported, tmp_path):
    given = examples()
    found = []
    for options in ([], ["--no-library"]):
        path = tmp_path / f"{len(options)}.engine"
        run(build, exported, "-o", path, *options)
        with vim_deploy.load(path) as model:
            found.append(model.run(**given)["logits"])
    assert np.abs(found[0] - found[1]).max() <= 1e-4 * np.abs(found[0]).max()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "the model takes tokens, mask"),
        ({"tokens": np.zeros((1, 2), np.int64)}, "given tokens; the model takes tokens, mask"),
        ({"tokens": np.zeros((1, 2), np.int32), "mask": np.ones((1, 2), np.float32)}, "expects int64"),
        ({"tokens": np.zeros(2, np.int64), "mask": np.ones((1, 2), np.float32)}, r"shape \(2,\)"),
        ({"pixels": np.zeros((1, 2), np.int64)}, "give them by name"),
    ],
)
def test_wrong_arrays_are_refused(exported, arrays, message):
    with vim_deploy.load(exported) as model, pytest.raises(EngineError, match=message):
        model.run(**arrays)


def test_images_are_refused(exported, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "image.png")
    result = run(infer, exported, tmp_path, "-o", tmp_path / "x.csv", code=2)
    assert "no arrays found" in result.output, result.output
    with vim_deploy.load(exported) as model, pytest.raises(EngineError, match="takes named arrays"):
        model.predict(tmp_path / "image.png")


def test_images_with_preprocessing(tmp_path):
    path = tmp_path / "x.onnx"
    result = vim_deploy.export_module(
        classifier(), torch.zeros(1, 3, 32, 32), path, task="classify", class_names=list("abcde")
    )
    assert result.metadata.class_names == tuple("abcde")
    pixels = np.random.default_rng(0).standard_normal((3, 3, 32, 32), np.float32)
    with use_scan("reference"), torch.inference_mode():
        expected = classifier()(torch.from_numpy(pixels)).numpy()
    with vim_deploy.load(path) as model:
        assert np.abs(model.run(pixels)["logits"] - expected).max() <= 1e-4 * np.abs(expected).max()


class Rank(nn.Module):
    """A scalar, a vector and a tensor with five axes; several outputs by name."""

    def forward(self, scale, vector, blocks):
        return {"scaled": blocks * scale, "sum": vector.sum(), "unused": None, "positive": vector > 0}


def test_any_rank(tmp_path):
    given = {"scale": torch.tensor(2.0), "vector": torch.randn(3), "blocks": torch.randn(1, 2, 1, 2, 2)}
    vim_deploy.export_module(Rank(), given, tmp_path / "x.onnx")
    with vim_deploy.load(tmp_path / "x.onnx") as model:
        found = model.run(**given)
    assert set(found) == {"scaled", "sum", "positive"}
    assert found["sum"].shape == () and found["positive"].dtype == bool
    np.testing.assert_allclose(found["scaled"], 2 * given["blocks"].numpy(), rtol=1e-6)


class Nested(nn.Module):
    def forward(self, x):
        return x, (x, x)


@pytest.mark.parametrize(
    ("network", "given", "options", "message"),
    [
        (nn.Identity(), torch.ones(2), {"input_names": ["a", "b"]}, "2 input names for 1 example"),
        (nn.Identity(), torch.ones(2), {"output_names": ["a", "b"]}, "2 output names for a network with 1"),
        (nn.Identity(), torch.ones(1), {"dynamic_axes": {"input0": {0: "n"}}}, "size of 2 or more"),
        (nn.Identity(), torch.ones(2), {"dynamic_axes": {"x": {0: "n"}}}, "the inputs are input0"),
        (nn.Identity(), [3], {}, "is a int; expected a tensor"),
        (Nested(), torch.ones(2), {}, "output1 returns a tuple"),
        (nn.Linear(2, 2).half(), torch.ones(2), {}, r"float16 on cpu.*float\(\)"),
        (nn.Identity(), torch.ones(2), {"class_names": ["a"]}, "are for images"),
        (nn.Identity(), torch.ones(2, 3), {"task": "classify"}, "one float32 tensor"),
        (nn.Identity(), torch.ones(1, 3, 8, 8), {"task": "classify"}, "has no head"),
    ],
)
def test_unusable_arguments_are_refused(network, given, options, message, tmp_path):
    with pytest.raises((ExportError, ConfigError), match=message):
        vim_deploy.export_module(network, given, tmp_path / "x.onnx", **options)
    assert not list(tmp_path.iterdir())


def test_existing_files_of_other_kinds_are_not_replaced(tmp_path):
    path = tmp_path / "x.onnx"
    path.write_text("mine")
    with pytest.raises(vim_deploy.OutputError):
        vim_deploy.export_module(nn.Identity(), torch.ones(2), path)
    assert path.read_text() == "mine"


def test_a_description_of_inputs_that_was_edited_is_refused(exported, tmp_path):
    for edit in ('"low": 0', '"low": "0"'), ('"shape": [2, 6]', '"shape": [2, -6]'), ('"int64"', '"int65"'):
        model = onnx.load(exported)
        for prop in model.metadata_props:
            if prop.key == "vim_deploy.config":
                assert edit[0] in prop.value
                prop.value = prop.value.replace(*edit)
        onnx.save(model, tmp_path / "edited.onnx")
        with pytest.raises(EngineError, match=r"[Ee]xport the model again"):
            vim_deploy.load(tmp_path / "edited.onnx")
