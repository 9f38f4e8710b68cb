"""Segmenter and neck, compared with the upstream reference."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from golden_data import assert_close, load_json, load_tensors
from golden_segmenter import golden_segmenter, weights_below

from vim_deploy.dense.config import BackboneConfig, FeatureType
from vim_deploy.dense.neck import PyramidBackbone
from vim_deploy.dense.segmentation import (
    SEGMENTER_PRESETS,
    SegmenterConfig,
    segmenter_name,
)
from vim_deploy.dense.segmenter import Segmenter
from vim_deploy.dense.upernet import AveragePool
from vim_deploy.dense.windows import placements
from vim_deploy.errors import ConfigError
from vim_deploy.model.loading import shapes_of
from vim_deploy.ops import use_scan

TOLERANCE = 3e-5  # float32; the reference's error in float32 is up to 5.3e-6 of the largest value
CASES = [case["name"] for case in load_json("seg_backbone")["cases"]]
TINY = SEGMENTER_PRESETS["upernet_vim_tiny"]


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_maps_of_the_neck_equal_the_reference(name):
    case = next(case for case in load_json("seg_backbone")["cases"] if case["name"] == name)
    tensors = load_tensors("seg_backbone")
    config = SegmenterConfig(
        backbone=BackboneConfig.from_reference(case["flags"]), neck=case["flags"].get("if_fpn", True)
    )
    model = PyramidBackbone(config).eval()
    if case["weights_from"] is None:
        weights = weights_below(tensors, f"{name}.weights.")
    else:
        weights = weights_below(tensors, f"{case['weights_from']}.weights.")
        weights |= weights_below(tensors, f"{name}.weights.")
        kept = model.state_dict()
        weights = {key: value for key, value in weights.items() if key in kept}
    model.load_state_dict(weights, strict=True)
    assert list(model.state_dict()) == list(case["keys"])
    found = model(torch.from_numpy(tensors[f"{name}.image"]))
    assert [list(level.shape) for level in found] == case["feature_shapes"]
    for level, values in enumerate(found):
        assert_close(values, tensors[f"{name}.feature{level}"], TOLERANCE)


@pytest.mark.parametrize("scan", ["auto", "reference"])
@torch.no_grad()
def test_logits_of_a_crop_equal_the_reference(scan):
    tensors, model = load_tensors("segmenter"), golden_segmenter()
    crop = torch.from_numpy(tensors["crop_image"])
    with use_scan(scan):
        decoded, auxiliary = model.forward_training(crop)
        single = model(crop)
    assert_close(decoded, tensors["decode_logits"], TOLERANCE)
    assert_close(auxiliary, tensors["aux_logits"], TOLERANCE)
    assert torch.equal(single, decoded)
    assert_close(model.segment(crop, (64, 64)), tensors["crop_logits"], TOLERANCE)


@torch.no_grad()
def test_logits_of_sliding_windows_equal_the_reference():
    tensors, stride = load_tensors("segmenter"), load_json("segmenter")["slide"]["stride"]
    found = golden_segmenter().segment(torch.from_numpy(tensors["slide_image"]), stride)
    assert_close(found, tensors["slide_logits"], TOLERANCE)


@pytest.mark.parametrize("name", SEGMENTER_PRESETS)
def test_names_shapes_and_counts_of_full_size_models_equal_the_reference(name):
    expected = load_json("full_dense_state_dicts")[f"{name}_512"]
    shapes = {key: list(shape) for key, shape in shapes_of(Segmenter, SEGMENTER_PRESETS[name]).items()}
    blocks = {
        expected["block_prefix"].replace("<i>", str(index)) + key: shape
        for index in range(expected["blocks"])
        for key, shape in expected["block_keys"].items()
    }
    assert shapes == expected["other_keys"] | blocks
    assert len(shapes) == expected["num_keys"]
    with torch.device("meta"):
        model = Segmenter(SEGMENTER_PRESETS[name])
    assert sum(parameter.numel() for parameter in model.parameters()) == expected["num_params"]
    assert sum(parameter.numel() for parameter in model.backbone.parameters()) == expected["backbone_params"]


@pytest.mark.parametrize(("size", "cells"), [(16, 3), (16, 6), (2, 6), (7, 7), (5, 1)])
def test_pooling_by_matmul_equals_adaptive_pooling(size, cells):
    maps = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, size, size + 1)))
    expected = torch.nn.functional.adaptive_avg_pool2d(maps, cells)
    assert_close(AveragePool(cells)(maps), expected, 1e-12)  # float64: only the order of sums differs


@torch.no_grad()
def test_small_images_are_padded_with_zeros():
    model = golden_segmenter()
    image = torch.from_numpy(load_tensors("segmenter")["crop_image"])[..., :40, :64]
    filled = torch.nn.functional.pad(image, (0, 0, 0, 24))
    assert torch.equal(model.segment(image, (43, 43)), model.segment(filled, (43, 43))[..., :40, :])


def test_windows_cover_the_image_and_end_at_its_border():
    assert placements(101, 64, 43) == [0, 37]
    assert placements(64, 64, 43) == [0]
    assert placements(30, 64, 43) == [0]
    assert placements(2048, 512, 341) == [0, 341, 682, 1023, 1364, 1536]
    with pytest.raises(ConfigError, match="stride is 65; expected 1 to 64"):
        placements(100, 64, 65)


def test_configuration_round_trip_through_json():
    given = SEGMENTER_PRESETS["upernet_vim_small"].replace(num_classes=7, auxiliary_channels=0)
    assert SegmenterConfig.from_dict(json.loads(json.dumps(given.to_dict()))) == given


def test_presets_are_recognized_by_their_structure():
    small = SEGMENTER_PRESETS["upernet_vim_small"]
    assert segmenter_name(small.with_vim(image_size=(256, 256)).replace(num_classes=3)) == "upernet_vim_small"
    assert segmenter_name(small.replace(auxiliary_channels=0)) == "upernet_vim_small"
    assert segmenter_name(small.replace(channels=100)) == "custom"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 0}, "num_classes is 0"),
        ({"pool_scales": ()}, "pool_scales"),
        (
            {"backbone": BackboneConfig(TINY.backbone.vim, out_indices=(5, 11), last=FeatureType.STREAM)},
            "expected 4 indices",
        ),
        (
            {"backbone": BackboneConfig(TINY.backbone.vim.replace(patch_size=32, stride=32), (5,))},
            "patch_size",
        ),
        ({"backbone": BackboneConfig(TINY.backbone.vim.replace(image_size=(16, 64)), (5,))}, "too small"),
    ],
)
def test_invalid_segmenters_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        TINY.replace(**changes)
