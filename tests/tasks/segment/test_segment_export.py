"""Exported segmenters: files and engines compared with the reference, and their operators."""

from __future__ import annotations

import json

import commands
import numpy as np
import onnx
import pytest
import task_exports
import torch
from golden_data import assert_close, load_json, load_tensors
from shared_files import exported_once

from vim_deploy import load
from vim_deploy.cli.export import main
from vim_deploy.data.bilinear import resize
from vim_deploy.dense.ade20k import ADE20K_CLASSES
from vim_deploy.dense.config import BackboneConfig, FeatureType
from vim_deploy.dense.segmentation import SegmenterConfig
from vim_deploy.dense.segmenter import Segmenter
from vim_deploy.engines.fusion.rewrite import fuse
from vim_deploy.engines.tensorrt.graph import prepare
from vim_deploy.export.onnx import to_onnx
from vim_deploy.metadata import ModelMetadata
from vim_deploy.model import VimConfig, fill_synthetic, save_checkpoint
from vim_deploy.ops.library import ort_library
from vim_deploy.ops.signature import OP_NAME
from vim_deploy.tasks.segment.axis import Axis
from vim_deploy.tasks.segment.export import SegmentModule
from vim_deploy.tasks.segment.mapper import _scores

ort = pytest.importorskip("onnxruntime", reason="running exported files needs onnxruntime")

TOLERANCE = 3e-5  # recommended by the golden data for float32
DEPTH = 4


@pytest.fixture(scope="module")
def exported() -> onnx.ModelProto:
    return task_exports.segmenter()


@pytest.fixture(scope="module")
def rotary() -> Segmenter:
    """The small configuration with a grid of 6 x 6, which the pooling scales do not divide."""
    vim = VimConfig(
        image_size=(96, 96),
        embed_dim=16,
        depth=DEPTH,
        class_token="none",
        num_classes=0,
        rope=True,
        rope_residual=True,
    )
    backbone = BackboneConfig(
        vim, out_indices=(0, 1, 2, 3), intermediate=FeatureType.STREAM, last=FeatureType.STREAM
    )
    model = Segmenter(SegmenterConfig(backbone, num_classes=150, channels=8, auxiliary_channels=8))
    fill_synthetic(model, seed=2)
    return model.eval()


@pytest.fixture
def exported_rotary(rotary) -> onnx.ModelProto:
    return exported_once("rotary-segmenter", lambda: to_onnx(SegmentModule(rotary)))


def run(model: onnx.ModelProto, pixels: np.ndarray, library: bool) -> np.ndarray:
    options = ort.SessionOptions()
    if library:
        options.register_custom_ops_library(str(ort_library()))
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"pixels": pixels})[0]


@pytest.mark.parametrize("library", [True, False], ids=["library", "function body"])
def test_logits_of_a_crop_equal_the_reference(exported, library):
    tensors = load_tensors("segmenter")
    found = run(exported, tensors["crop_image"], library)
    assert_close(found, tensors["decode_logits"], TOLERANCE)
    whole = resize(found[0].transpose(1, 2, 0), *tensors["crop_logits"].shape[2:])
    assert_close(whole.transpose(2, 0, 1), tensors["crop_logits"][0], TOLERANCE)
    three = run(exported, np.repeat(tensors["crop_image"], 3, axis=0), library)
    assert_close(three, np.repeat(tensors["decode_logits"], 3, axis=0), TOLERANCE)


def test_sliding_windows_with_the_file_equal_the_reference(exported):
    tensors, slide = load_tensors("segmenter"), load_json("segmenter")["slide"]
    image, expected = tensors["slide_image"], tensors["slide_logits"][0]
    rows, columns = (
        Axis(size, size, crop, stride, crop // 4)
        for size, crop, stride in zip(expected.shape[1:], slide["crop"], slide["stride"], strict=True)
    )
    places = [(top, left) for top in rows.starts for left in columns.starts]
    windows = np.concatenate(
        [image[..., top : top + rows.crop, left : left + columns.crop] for top, left in places]
    )
    logits = (
        run(exported, windows, library=True)
        .transpose(0, 2, 3, 1)
        .reshape(len(rows.starts), len(columns.starts), rows.cells, columns.cells, -1)
    )
    down, across = list(rows.shares(0, rows.original)), list(columns.shares(0, columns.original))
    found = _scores(down, across, {row: list(band) for row, band in enumerate(logits)})
    assert_close(found.transpose(2, 1, 0), expected, TOLERANCE)


def test_the_auxiliary_head_is_not_exported(exported):
    names = [item.name for item in exported.graph.initializer]
    assert any(name.startswith("decode_head.") for name in names)
    assert not any("auxiliary_head" in name for name in names)
    assert [output.name for output in exported.graph.output] == ["logits"]


@pytest.mark.parametrize("major", [8, 10, 11])
def test_the_graph_is_supported_by_the_parser_of_tensorrt(exported, exported_rotary, major):
    for graph in (exported, exported_rotary):
        prepared = prepare("model.onnx", graph.SerializeToString(), "fp32", major)
        assert len(prepared.scans) == 2 * DEPTH
        resizes = [node for node in graph.graph.node if node.op_type == "Resize"]
        constants = {item.name for item in graph.graph.initializer}
        assert resizes
        # Constant scales, since parsers differ for computed sizes.
        assert all(node.input[2] in constants and len(node.input) == 3 for node in resizes)


def test_every_mixer_and_norm_is_fused(exported, exported_rotary):
    for graph in (exported, exported_rotary):
        copy = onnx.ModelProto()
        copy.CopyFrom(graph)
        counts = fuse(copy)
        assert counts["ScanPair"] == counts["CausalConvPair"] == DEPTH
        assert counts.get("RMSNorm", 0) + counts.get("AddRMSNorm", 0) == DEPTH
        assert not any(node.op_type == OP_NAME for node in copy.graph.node)


def invoke(*arguments):
    return commands.invoke(main, *arguments)


def test_the_command_verifies_its_file_and_an_engine_runs_it(rotary, tmp_path):
    save_checkpoint(rotary, tmp_path / "rotary.safetensors")
    path = tmp_path / "rotary.onnx"
    result = invoke("auto", "--task", "segment", "--checkpoint", tmp_path / "rotary.safetensors", "-o", path)
    assert result.exit_code == 0, result.output
    assert "equal to the eager model" in result.output
    assert "assumed to be those of ADE20K" in result.output
    model = onnx.load(path)
    about = ModelMetadata.from_props({item.key: item.value for item in model.metadata_props}, "file")
    assert about.task == "segment"
    assert about.class_names == ADE20K_CLASSES
    assert SegmenterConfig.from_dict(about.config) == rotary.config.replace(auxiliary_channels=0)
    pixels = np.random.default_rng(0).standard_normal((3, 3, 96, 96), np.float32)
    with load(path) as engine, torch.no_grad():
        # The engine sums in another order than the eager model, in four blocks and two heads.
        assert_close(engine.run(pixels)["logits"], rotary(torch.from_numpy(pixels)), TOLERANCE)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_only_mixers_are_in_reduced_precision(rotary, tmp_path, precision):
    save_checkpoint(rotary, tmp_path / "r.safetensors")
    options = (
        "--checkpoint",
        tmp_path / "r.safetensors",
        "--precision",
        precision,
        "-o",
        tmp_path / "r.onnx",
    )
    result = invoke("auto", "--task", "segment", *options)
    assert result.exit_code == 0, result.output
    model = onnx.load(tmp_path / "r.onnx")
    narrow = {item.name for item in model.graph.initializer if item.data_type in (10, 16)}
    assert narrow
    assert all(".mixer" in name for name in narrow)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["upernet_vim_tiny"], "is for --task segment, not classify"),
        (["vim_tiny", "--task", "segment"], "not segment; models for segment: upernet_vim_tiny"),
        (["upernet_vim_huge", "--task", "segment"], "unknown model 'upernet_vim_huge'"),
        (["auto", "--task", "segment"], "needs --checkpoint"),
    ],
)
def test_a_model_for_another_task_is_refused(tmp_path, arguments, message):
    result = invoke(*arguments, "-o", tmp_path / "m.onnx")
    assert result.exit_code == 2
    assert message in result.output


def test_names_and_weights_of_another_shape_are_refused(rotary, tmp_path):
    save_checkpoint(rotary, tmp_path / "r.safetensors")
    (tmp_path / "names.txt").write_text("one\ntwo\n")
    given = ("--task", "segment", "--checkpoint", tmp_path / "r.safetensors", "-o", tmp_path / "m.onnx")
    result = invoke("auto", *given, "--class-names", tmp_path / "names.txt")
    assert result.exit_code == 2
    assert "2 class names for a model with 150 classes" in result.output
    result = invoke("upernet_vim_small", *given)
    assert result.exit_code == 2
    assert (
        "r.safetensors is not a upernet_vim_small: its tensors are those of a custom model" in result.output
    )
    (tmp_path / "wrong.json").write_text(json.dumps({"head": {}}))
    result = invoke(tmp_path / "wrong.json", *given)
    assert result.exit_code == 2
    assert "no `backbone`" in result.output
