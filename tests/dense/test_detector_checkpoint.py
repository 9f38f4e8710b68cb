"""Checkpoints of detectors: inference of the configuration, and errors."""

from __future__ import annotations

import collections
import dataclasses
import pickle

import numpy as np
import pytest
import torch
from dense.golden_detector import golden_config, golden_detector, golden_input, golden_weights
from golden_data import golden_dir

from vim_deploy.dense.coco import COCO_IDS, COCO_NAMES
from vim_deploy.dense.detector_checkpoint import load_detector
from vim_deploy.errors import CheckpointError
from vim_deploy.model import load_checkpoint, save_checkpoint


def write(path, weights):
    """Write a checkpoint in the format of detectron2."""
    content = {
        "model": collections.OrderedDict(weights),
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-4}]},
        "scheduler": {"last_epoch": 7},
        "iteration": 89999,
    }
    torch.save(content, path)
    return path


@pytest.fixture
def weights():
    return golden_weights()


@pytest.fixture
def config():
    """The configuration inferred for the small detector; other fields are those of full-size detectors."""
    golden = golden_config()
    untraced = {
        field.name: field.default
        for field in dataclasses.fields(golden)
        if field.name in ("anchor_sizes", "pre_nms_topk", "post_nms_topk")
    }
    return golden.replace(**untraced)


@torch.no_grad()
def test_training_checkpoint_of_detectron2_is_read(tmp_path, weights, config):
    model, loaded = load_detector(write(tmp_path / "model_final.pth", weights))
    assert loaded.config == config
    assert (loaded.source, loaded.key) == ("model_final.pth", "model")
    expected = golden_detector().backbone(golden_input())
    assert all(torch.equal(a, b) for a, b in zip(model.backbone(golden_input()), expected, strict=True))


def test_assumptions_are_noted(tmp_path, weights):
    path = write(tmp_path / "model_final.pth", weights)
    notes = " ".join(load_detector(path)[1].notes)
    for word in ("anchors of sizes 32, 64", "1000 proposals", "--no-average-directions", "rotary embedding"):
        assert word in notes
    model, loaded = load_detector(path, average_directions=False)
    assert not model.config.backbone.vim.average_directions
    assert "averaged" not in " ".join(loaded.notes)


@torch.no_grad()
def test_given_configuration_needs_no_assumptions(tmp_path, weights):
    path = write(tmp_path / "model_final.pth", weights)
    model, loaded = load_detector(path, config=golden_config())
    assert not loaded.notes
    found, expected = model(golden_input()), golden_detector()(golden_input())
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_saved_detector_contains_its_configuration(tmp_path):
    path = tmp_path / "small.safetensors"
    save_checkpoint(golden_detector(), path)
    assert load_detector(path)[1].config == golden_config()


def test_another_image_size_resizes_the_position_embedding(tmp_path, weights):
    model, loaded = load_detector(write(tmp_path / "model.pth", weights), image_size=(192, 192))
    assert model.config.image_size == (192, 192)
    assert loaded.state_dict["backbone.net.pos_embed"].shape == (1, 144, 32)
    assert "position embedding resized from 8x8 to 12x12" in " ".join(loaded.notes)


def without(weights, start):
    return {name: value for name, value in weights.items() if not name.startswith(start)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: without(w, "backbone.net."), "heads but no backbone"),
        (lambda w: without(w, "roi_heads.mask_head."), "no mask head"),
        (lambda w: without(w, "proposal_generator."), "objectness_logits.weight is missing"),
        (lambda w: without(w, "roi_heads.box_predictor.2."), "2 stages"),
        (lambda w: without(w, "roi_heads.box_head.1.fc1"), "2 missing: roi_heads.box_head.1.fc1.weight"),
        (lambda w: {**w, "extra": torch.zeros(1)}, "1 unexpected: extra"),
        (
            lambda w: {**w, "roi_heads.box_predictor.0.bbox_pred.weight": torch.zeros(20, 32)},
            "20 rows, one box per class",
        ),
        (
            lambda w: {**w, "roi_heads.box_predictor.cls_score.weight": torch.zeros(6, 32)},
            "a Mask R-CNN",
        ),
    ],
)
def test_unsupported_detectors_are_refused(tmp_path, weights, change, message):
    with pytest.raises(CheckpointError, match=message):
        load_detector(write(tmp_path / "model_final.pth", change(weights)))


def test_another_number_of_classes_is_refused(tmp_path, weights):
    with pytest.raises(CheckpointError, match="has 5 classes, but 80 were requested"):
        load_detector(write(tmp_path / "model_final.pth", weights), num_classes=80)


def test_number_of_classes_must_match_the_configuration(tmp_path, weights):
    wrong = golden_config().replace(num_classes=4)
    with pytest.raises(CheckpointError, match=r"cls_score.weight \(has \(6, 32\), expected \(5, 32\)\)"):
        load_detector(write(tmp_path / "model_final.pth", weights), config=wrong)


def test_weights_of_another_kind_are_refused(tmp_path, weights):
    with pytest.raises(CheckpointError, match="weights of a classifier; expected those of a detector"):
        load_detector(golden_dir() / "checkpoint_reduced.pth")
    with pytest.raises(CheckpointError, match=r"weights of a detector; expected those of a classifier"):
        load_checkpoint(write(tmp_path / "model_final.pth", weights))


def test_plain_pickle_is_refused_and_its_code_does_not_run(tmp_path, weights):
    """The model zoo of detectron2 contains such files."""
    path = tmp_path / "model_final.pkl"
    arrays = {name: value.numpy() for name, value in weights.items()}
    path.write_bytes(pickle.dumps({"model": arrays, "__author__": "somebody"}))
    with pytest.raises(CheckpointError, match=r"model_final.pkl imports numpy.*could run code.*NOT"):
        load_detector(path)
    path.write_bytes(pickle.dumps({"model": {"weight": [1.0, 2.0]}}))
    with pytest.raises(CheckpointError, match="plain Python pickle"):
        load_detector(path)


def test_coco_has_80_classes_with_gaps_in_their_ids():
    assert len(COCO_IDS) == len(set(COCO_IDS)) == len(set(COCO_NAMES)) == 80
    by_name = dict(zip(COCO_NAMES, COCO_IDS, strict=True))
    # Known pairs from annotation files, before and after the gaps.
    assert [by_name[name] for name in ("person", "stop sign", "bottle", "toilet", "toothbrush")] == [
        1, 13, 44, 70, 90,
    ]  # fmt: skip
    assert np.all(np.diff(COCO_IDS) > 0)
