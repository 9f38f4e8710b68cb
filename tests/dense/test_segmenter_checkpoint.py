"""Checkpoints of segmenters: inference of the configuration, and errors."""

from __future__ import annotations

import collections

import pytest
import torch
from golden_data import assert_close, golden_dir, load_json, load_tensors

from vim_deploy.dense.config import BackboneConfig, FeatureType
from vim_deploy.dense.segmentation import SEGMENTER_PRESETS, SegmenterConfig
from vim_deploy.dense.segmenter import Segmenter
from vim_deploy.dense.segmenter_checkpoint import load_segmenter
from vim_deploy.errors import CheckpointError
from vim_deploy.model import VimConfig, fill_synthetic, load_checkpoint, save_checkpoint

NAMES = ("wall", "sky", "floor", "tree", "road", "bed", "car")


@pytest.fixture
def golden_weights():
    prefix = "weights."
    return {
        name.removeprefix(prefix): torch.from_numpy(value)
        for name, value in load_tensors("segmenter").items()
        if name.startswith(prefix)
    }


def write(path, weights, classes=NAMES):
    """Write a checkpoint in the format of mmcv."""
    meta = {
        "CLASSES": classes,
        "PALETTE": [[1, 2, 3]] * 7,
        "epoch": 3,
        "iter": 60000,
        "mmseg_version": "0.29.1",
    }
    torch.save(
        {"meta": meta, "state_dict": collections.OrderedDict(weights), "optimizer": {"state": {}}}, path
    )
    return path


def small(**changes) -> SegmenterConfig:
    vim = VimConfig(
        image_size=(64, 64),
        embed_dim=16,
        depth=4,
        class_token="none",
        num_classes=0,
        rope=True,
        rope_residual=True,
    )
    backbone = BackboneConfig(
        vim, out_indices=(0, 1, 2, 3), intermediate=FeatureType.STREAM, last=FeatureType.STREAM
    )
    return SegmenterConfig(backbone, **{"num_classes": 5, "channels": 8, "auxiliary_channels": 8, **changes})


@pytest.fixture
def small_weights():
    model = Segmenter(small())
    fill_synthetic(model, seed=3)
    return model.state_dict()


@torch.no_grad()
def test_training_checkpoint_of_mmseg_gives_the_reference_logits(tmp_path, golden_weights):
    model, loaded = load_segmenter(write(tmp_path / "iter_60000.pth", golden_weights))
    assert loaded.config == SegmenterConfig.from_reference(load_json("segmenter"))
    assert loaded.key == "state_dict"
    assert loaded.class_names == NAMES
    tensors = load_tensors("segmenter")
    assert_close(model(torch.from_numpy(tensors["crop_image"])), tensors["decode_logits"], 3e-5)


def test_rotary_embedding_is_recognized_and_assumptions_are_noted(tmp_path, small_weights):
    path = write(tmp_path / "small.pth", small_weights)
    _, loaded = load_segmenter(path)
    assert loaded.config == small()
    notes = " ".join(loaded.notes)
    assert "residual stream" in notes
    assert "averaged" in notes
    assert "--no-average-directions" in notes
    assert loaded.class_names is None
    assert "has 7 class names for 5 classes" in notes
    _, other = load_segmenter(path, average_directions=False)
    assert other.config == small().with_vim(average_directions=False)
    assert "averaged" not in " ".join(other.notes)


def test_a_saved_segmenter_needs_no_assumptions(tmp_path, small_weights):
    config = small(neck=False, auxiliary_channels=0).with_vim(average_directions=False)
    model = Segmenter(config)
    fill_synthetic(model)
    save_checkpoint(model, tmp_path / "own.safetensors")
    _, loaded = load_segmenter(tmp_path / "own.safetensors")
    assert loaded.config == config
    assert loaded.notes == ()


def test_another_crop_resizes_the_position_embedding(tmp_path, small_weights):
    model, loaded = load_segmenter(write(tmp_path / "small.pth", small_weights), image_size=(96, 96))
    assert loaded.config.image_size == (96, 96)
    assert model.backbone.pos_embed.shape == (1, 36, 16)
    assert any("from 4x4 to 6x6" in note for note in loaded.notes)
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 96, 96)).shape == (1, 5, 24, 24)


def without(prefix):
    return lambda weights: {key: value for key, value in weights.items() if not key.startswith(prefix)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("backbone."), "no backbone"),
        (without("decode_head.conv_seg"), "no decode head: the tensor decode_head.conv_seg.weight"),
        (without("decode_head.psp_modules.3"), "pools at 3 scales"),
        (
            without("decode_head.bottleneck.bn.running_mean"),
            "1 missing: decode_head.bottleneck.bn.running_mean",
        ),
    ],
)
def test_incomplete_checkpoints_are_refused(tmp_path, small_weights, change, message):
    path = write(tmp_path / "part.pth", change(dict(small_weights)))
    with pytest.raises(CheckpointError, match=message) as caught:
        load_segmenter(path)
    assert "part.pth" in str(caught.value)


def test_weights_of_a_classifier_are_refused():
    with pytest.raises(CheckpointError, match=r"weights of a classifier; expected those of a segmenter"):
        load_segmenter(golden_dir() / "checkpoint_reduced.pth")


def test_weights_of_a_segmenter_are_refused_for_a_classifier(tmp_path, small_weights):
    with pytest.raises(CheckpointError, match=r"weights of a segmenter; expected those of a classifier"):
        load_checkpoint(write(tmp_path / "small.pth", small_weights))


def test_wrong_number_of_classes_is_refused(tmp_path, small_weights):
    with pytest.raises(CheckpointError, match="has 5 classes, but 150 were requested"):
        load_segmenter(write(tmp_path / "small.pth", small_weights), num_classes=150)


def test_configuration_must_match_the_weights(tmp_path, small_weights):
    with pytest.raises(CheckpointError, match="does not fit upernet_vim_tiny"):
        load_segmenter(write(tmp_path / "s.pth", small_weights), config=SEGMENTER_PRESETS["upernet_vim_tiny"])


def test_checkpoint_with_code_is_refused(tmp_path, small_weights):
    path = tmp_path / "code.pth"
    torch.save({"state_dict": dict(small_weights), "meta": {"CLASSES": print}}, path)
    with pytest.raises(CheckpointError, match="could run code"):
        load_segmenter(path)
