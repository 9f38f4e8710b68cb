"""vim-inspect --set-class-names: the names, the hashes, and what is refused."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import commands
import numpy as np
import onnx
import pytest
from small_engines import save_and_build
from small_onnx import color_model

from vim_deploy import load
from vim_deploy.cli.inspect import main
from vim_deploy.engines.build import build_engine
from vim_deploy.engines.container import read_engine, read_manifest
from vim_deploy.engines.manifest import FileRecord
from vim_deploy.engines.source import read_source

pytest.importorskip("onnxruntime", reason="engines are built with onnxruntime")


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_and_build(color_model(), "colors.onnx", "colors.engine")
    Path("names.txt").write_text("rouge\nvert\nbleu\n")


run = partial(commands.invoke, main)


def test_an_engine_gets_names_and_keeps_its_payload_and_hashes():
    before, payload = read_engine("colors.engine")
    original = Path("colors.engine").read_bytes()
    result = run("colors.engine", "--set-class-names", "names.txt", "-o", "french.engine")
    assert result.exit_code == 0, result.output
    assert "3 classes: rouge, vert, bleu (names given)" in result.stdout
    after, same = read_engine("french.engine")
    assert (after.payload, after.source, same) == (before.payload, before.source, payload)
    assert Path("colors.engine").read_bytes() == original
    pixels = np.random.default_rng(0).standard_normal((2, 3, 8, 8), np.float32)
    with load("colors.engine") as one, load("french.engine") as other:
        assert other.class_names == ("rouge", "vert", "bleu")
        np.testing.assert_array_equal(one.run(pixels)["logits"], other.run(pixels)["logits"])


def test_an_onnx_file_gets_names_and_keeps_its_graph():
    result = run("colors.onnx", "--set-class-names", "names.txt", "-o", "french.onnx")
    assert result.exit_code == 0, result.output
    assert read_source("french.onnx").metadata.class_names == ("rouge", "vert", "bleu")
    assert onnx.load("french.onnx").graph == onnx.load("colors.onnx").graph
    build_engine("french.onnx", "french.engine")
    manifest = read_manifest("french.engine")
    assert manifest.source == read_source("french.onnx").record != FileRecord("x", "", 0)
    assert manifest.source.sha256 != read_manifest("colors.engine").source.sha256


@pytest.mark.parametrize(
    ("arguments", "names", "message"),
    [
        (["-o", "x.engine"], "a\nb", "2 class names for a model with 3 classes"),
        ([], "a\nb\nc", "--set-class-names and -o are used together"),
        (["-o", "colors.engine"], "a\nb\nc", "colors.engine is an input of this run"),
        (["-o", "names.txt"], "a\nb\nc", "names.txt is an input of this run"),
        (["-o", "other", "--force"], "a\nb\nc\x07c", "class name"),
        (["-o", "other"], "a\nb\nc", "exists and is not an engine"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, names, message):
    Path("names.txt").write_text(names)
    Path("other").write_text("something else")
    result = run("colors.engine", "--set-class-names", "names.txt", *arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert not Path("x.engine").exists() and Path("other").read_text() == "something else"


def test_checkpoints_are_refused():
    Path("weights.pth").write_bytes(b"weights")
    result = run("weights.pth", "--set-class-names", "names.txt", "-o", "x.pth")
    assert result.exit_code == 2 and "weights.pth is a checkpoint" in result.output
