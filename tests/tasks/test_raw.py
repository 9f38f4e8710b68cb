"""vim-infer with named arrays: one .npz file in, one out, one row for each."""

from __future__ import annotations

import json
import zipfile
from functools import partial

import commands
import numpy as np
import pytest
import torch
from small_networks import language_model

import vim_deploy
from vim_deploy.cli import infer
from vim_deploy.errors import InputError
from vim_deploy.integrations.mamba_ssm import install
from vim_deploy.tasks.raw.files import encoded_arrays, read_arrays

AXES = {"tokens": {0: "batch", 1: "length"}, "mask": {0: "batch", 1: "length"}}


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    examples = {"tokens": torch.randint(0, 11, (2, 6)), "mask": torch.ones(2, 6)}
    with install():
        vim_deploy.export_module(
            language_model(), examples, folder / "x.onnx", output_names=["logits", "state"], dynamic_axes=AXES
        )
    vim_deploy.build(folder / "x.onnx", folder / "x.engine", threads=1)
    return folder / "x.engine"


def arrays(length):
    random = np.random.default_rng(length)
    return {
        "tokens": random.integers(0, 11, (1, length)),
        "mask": np.ones((1, length), np.float32),
    }


@pytest.fixture
def inputs(tmp_path):
    folder = tmp_path / "arrays"
    (folder / "more").mkdir(parents=True)
    np.savez(folder / "a.npz", **arrays(3))
    np.savez_compressed(folder / "more" / "b.npz", **arrays(9))
    (folder / "notes.txt").write_text("not an array")
    return folder


run = partial(commands.invoke, infer.main)


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_one_file_of_outputs_per_input(engine, inputs, tmp_path):
    rows, outputs = tmp_path / "rows.jsonl", tmp_path / "outputs"
    result = run(engine, inputs, "-o", rows, "--outputs", outputs)
    assert result.exit_code == 0, result.output
    assert "2 files in" in result.stderr and "1 file skipped: not .npz or .npy files" in result.stderr
    found = rows_of(rows)
    assert [row["file"] for row in found] == ["a.npz", "more/b.npz"]
    assert found[1]["shapes"] == {"logits": [1, 9, 11], "state": [1, 8]}
    with vim_deploy.load(engine) as model:
        for row, length in zip(found, (3, 9), strict=True):
            expected = model.run(**arrays(length))
            with np.load(outputs / row["file"]) as written:
                assert set(written.files) == set(expected)
                for name, values in expected.items():
                    np.testing.assert_array_equal(written[name], values)


def test_a_run_is_resumed_and_files_are_not_replaced(engine, inputs, tmp_path):
    rows, outputs = tmp_path / "rows.csv", tmp_path / "outputs"
    (inputs / "more" / "c.npz").write_bytes(b"damaged")
    options = (engine, inputs, "-o", rows, "--outputs", outputs)
    stopped = run(*options, "--max-failures", "0")
    assert stopped.exit_code == 3, stopped.output
    np.savez(inputs / "more" / "c.npz", **arrays(4))
    resumed = run(*options, "--resume")
    assert resumed.exit_code == 1 and "3 rows resumed" in resumed.stderr, resumed.stderr
    lines = rows.read_text().splitlines()
    assert '"{""logits"": [1, 3, 11], ""state"": [1, 8]}"' in lines[1]
    again = run(engine, inputs, "-o", tmp_path / "other.csv", "--outputs", outputs)
    assert again.exit_code == 2 and "a.npz" in again.stderr, again.stderr


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda given: given.pop("mask"), "has the arrays tokens; the model takes tokens, mask"),
        (lambda given: given.update(extra=np.zeros(2)), "the model takes tokens, mask"),
        (lambda given: given.update(tokens=np.zeros(3, np.int64)), "tokens has shape (3,)"),
        (lambda given: given.update(mask=np.ones((1, 3))), "mask has type float64"),
        (lambda given: given.update(mask=np.array([None])), "Object arrays cannot be loaded"),
        (lambda given: given.update(mask=np.ones((1, 4), np.float32)), "ONNX Runtime failed"),
    ],
)
def test_an_unusable_file_is_a_row_with_the_reason(change, reason, engine, inputs, tmp_path):
    given = arrays(3)
    change(given)
    np.savez(inputs / "a.npz", **given)
    result = run(engine, inputs, "-o", tmp_path / "rows.jsonl", "--outputs", tmp_path / "outputs")
    assert result.exit_code == 1, result.output
    bad, good = rows_of(tmp_path / "rows.jsonl")
    assert bad["status"] == "error" and reason in bad["reason"] and good["status"] == "ok"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give a folder with --outputs"),
        (("--outputs", "o", "--batch-size", "2"), "--batch-size: only for models that take images"),
        (("--outputs", "o", "--overlays", "p"), "--overlays: only for models that take images"),
        (("--outputs", "o", "--top-k", "2"), "--top-k: only for models of the task classify"),
        (("--outputs", "o", "--labels", "folder"), "--labels needs a model for classification"),
    ],
)
def test_options_for_images_are_refused(options, message, engine, inputs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(engine, inputs, "-o", "rows.csv", *options)
    assert result.exit_code == 2 and message in result.stderr, result.stderr


def test_a_folder_without_arrays_is_an_error(engine, tmp_path):
    (tmp_path / "images").mkdir()
    result = run(engine, tmp_path / "images", "-o", tmp_path / "rows.csv", "--outputs", tmp_path / "o")
    assert result.exit_code == 2 and "no arrays found" in result.stderr


class _Spec:
    name = "x"

    def check(self, array):
        assert array.dtype == np.float32


def test_npy_files_are_for_one_input(tmp_path):
    np.save(tmp_path / "x.npy", np.ones(2, np.float32))
    assert read_arrays(str(tmp_path / "x.npy"), [_Spec()])["x"].tolist() == [1, 1]


def test_declared_sizes_are_limited(tmp_path, monkeypatch):
    monkeypatch.setattr("vim_deploy.tasks.raw.files._MAX_BYTES", 1000)
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros(1000, np.float32))
    with pytest.raises(InputError, match="at most 1000 are read"):
        read_arrays(str(tmp_path / "x.npz"), [_Spec()])


def test_outputs_may_have_any_names(tmp_path):
    (tmp_path / "x.npz").write_bytes(encoded_arrays({"file": np.ones(2), "allow_pickle": np.array(True)}))
    with np.load(tmp_path / "x.npz") as found:
        assert found["file"].tolist() == [1, 1] and found["allow_pickle"]
    assert zipfile.ZipFile(tmp_path / "x.npz").testzip() is None
