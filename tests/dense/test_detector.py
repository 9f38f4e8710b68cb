"""The detector, compared with the upstream reference stage by stage."""

from __future__ import annotations

import json

import pytest
import torch
from dense.golden_detector import (
    TOLERANCE,
    assert_same_set,
    golden_config,
    golden_detector,
    golden_input,
)
from golden_data import assert_close, load_json, load_tensors

from vim_deploy.dense.boxes import clip, image_limits
from vim_deploy.dense.cascade import BOX_GRID
from vim_deploy.dense.detector import Detector
from vim_deploy.dense.detector_config import DETECTORS, LEVELS, DetectorConfig
from vim_deploy.dense.proposals import EXCLUDED, Proposals
from vim_deploy.dense.roi import pool
from vim_deploy.errors import ConfigError
from vim_deploy.families.cascade_vim import FAMILY


@pytest.fixture(scope="module")
def tensors():
    return {name: torch.from_numpy(value) for name, value in load_tensors("detector").items()}


@pytest.fixture(scope="module")
def detector():
    return golden_detector()


def levels_of(tensors):
    return tuple(tensors[f"p{level}"] for level in LEVELS)


@torch.no_grad()
def test_feature_pyramid_equals_the_reference(detector, tensors):
    for level, found in zip(LEVELS, detector.backbone(golden_input()), strict=True):
        assert_close(found, tensors[f"p{level}"], TOLERANCE)


@torch.no_grad()
def test_anchors_logits_and_deltas_equal_the_reference(detector, tensors):
    network = detector.proposal_generator
    for index, (level, found) in enumerate(zip(LEVELS, levels_of(tensors), strict=True)):
        logits, deltas = network.rpn_head(found)
        assert_close(logits, tensors[f"rpn.logits.p{level}"], TOLERANCE)
        assert_close(deltas, tensors[f"rpn.deltas.p{level}"], TOLERANCE)
        assert_close(network.anchors(index, found), tensors[f"rpn.anchors.p{level}"], TOLERANCE)


@torch.no_grad()
def test_proposals_equal_the_reference(detector, tensors):
    found = detector.proposal_generator(levels_of(tensors), image_limits(golden_input()))
    rows = torch.cat([found.boxes, found.logits[:, None]], dim=1)
    expected = torch.cat([tensors["rpn.proposal_boxes"], tensors["rpn.proposal_logits"][:, None]], dim=1)
    assert_same_set(rows, expected, TOLERANCE)
    assert (found.logits.diff() <= 0).all()


@torch.no_grad()
def test_every_stage_of_the_cascade_equals_the_reference(detector, tensors):
    levels, limits = levels_of(tensors)[:-1], image_limits(golden_input())
    boxes = tensors["boxes"]
    for index in range(3):
        assert_close(boxes, tensors[f"roi.stage{index}.in_boxes"], TOLERANCE)
        if index == 0:
            assert_close(pool(levels, boxes, BOX_GRID), tensors["roi.stage0.pooled"], TOLERANCE)
        stage = detector.roi_heads.stage(index, levels, boxes)
        for name, found in (
            ("head", stage.hidden),
            ("scores", stage.logits),
            ("deltas", stage.deltas),
            ("out_boxes", stage.boxes),
        ):
            assert_close(found, tensors[f"roi.stage{index}.{name}"], TOLERANCE)
        boxes = clip(stage.boxes, limits)


@torch.no_grad()
def test_mask_logits_equal_the_reference(detector, tensors):
    found = detector.roi_heads.mask_logits(levels_of(tensors)[:-1], tensors["boxes"])
    assert_close(found, tensors["roi.mask_logits"], TOLERANCE)


@torch.no_grad()
def test_detections_equal_the_reference(detector, tensors):
    boxes, scores, classes, masks = detector(golden_input())
    rows = torch.cat([boxes, scores[:, None], classes[:, None]], dim=1)
    expected = torch.cat(
        [tensors["det.boxes"], tensors["det.scores"][:, None], tensors["det.classes"][:, None]], dim=1
    )
    assert_same_set(rows, expected, TOLERANCE)
    assert masks.shape == (len(boxes), 28, 28)


@torch.no_grad()
def test_boxes_are_clipped_to_the_image_without_padding(detector):
    height, width = load_tensors("detector")["image"].shape[1:]
    assert image_limits(golden_input()).tolist() == [width, height, width, height]
    boxes = detector(golden_input())[0]
    assert boxes[:, 3].max() <= height < golden_input().shape[2]


@torch.no_grad()
def test_empty_image_has_no_objects(detector):
    boxes, scores, classes, masks = detector(torch.zeros(1, 3, 128, 128))
    assert (boxes.shape, scores.shape, classes.shape, masks.shape) == ((0, 4), (0,), (0,), (0, 28, 28))


@torch.no_grad()
def test_padding_of_proposals_is_never_detected(detector, tensors):
    few = Detector(golden_config().replace(post_nms_topk=200, proposal_nms_iou_threshold=0.1))
    few.load_state_dict(detector.state_dict())
    levels, limits = levels_of(tensors), image_limits(golden_input())
    proposals = few.proposal_generator(levels, limits)
    real = int((proposals.logits > EXCLUDED).sum())
    assert 0 < real < len(proposals.logits)
    without_padding = Proposals(proposals.boxes[:real], proposals.logits[:real])
    threshold = torch.tensor(few.config.score_threshold)
    padded, unpadded = (
        few.roi_heads.detect(levels[:-1], given, limits, threshold) for given in (proposals, without_padding)
    )
    found = unpadded.scores > threshold
    assert found.any()
    assert torch.equal(padded.scores > threshold, found)
    assert_close(padded.boxes[found], unpadded.boxes[found], TOLERANCE)


@pytest.mark.parametrize(
    ("name", "described"),
    [
        ("cascade_vim_tiny", "cascade_mask_rcnn_vimdet_tiny_1024"),
        ("cascade_vim_small", "cascade_mask_rcnn_vimdet_small_1024"),
    ],
)
def test_tensors_of_full_size_detectors_equal_the_reference(name, described):
    case = load_json("full_dense_state_dicts")[described]
    with torch.device("meta"):
        model = Detector(DETECTORS[name])
    shapes = {key: list(tensor.shape) for key, tensor in model.state_dict().items()}
    blocks = {
        case["block_prefix"].replace("<i>", str(index)) + key: shape
        for index in range(case["blocks"])
        for key, shape in case["block_keys"].items()
    }
    assert shapes == {**case["other_keys"], **blocks}
    assert len(shapes) == case["num_keys"]
    assert sum(parameter.numel() for parameter in model.parameters()) == case["num_params"]


def test_order_of_tensors_equals_the_reference(detector):
    assert list(detector.state_dict()) == list(load_json("detector")["keys"])


@pytest.mark.parametrize("config", [golden_config, lambda: DETECTORS["cascade_vim_small"]])
def test_configuration_round_trip_through_json(config):
    assert DetectorConfig.from_dict(json.loads(json.dumps(config().to_dict()))) == config()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 0}, "num_classes is 0"),
        ({"nms_iou_threshold": 1.0}, "nms_iou_threshold is 1.0"),
        ({"score_threshold": -0.1}, "score_threshold is -0.1"),
        ({"anchor_sizes": (8, 16)}, "2 anchor sizes"),
        ({"aspect_ratios": (1, 0)}, "positive numbers"),
        ({"anchor_sizes": ("32",) * 5}, "positive numbers"),
        ({"box_convs": 10**6}, "box_convs is 1000000; expected 1 to 64"),
        ({"nms_iou_threshold": float("nan")}, "nms_iou_threshold is nan"),
    ],
)
def test_invalid_detectors_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        DETECTORS["cascade_vim_tiny"].replace(**changes)


def test_unknown_names_and_fields_are_refused():
    with pytest.raises(ConfigError, match="cascade_vim_tiny"):
        FAMILY.preset("cascade_vim_huge")
    values = DETECTORS["cascade_vim_tiny"].to_dict()
    with pytest.raises(ConfigError, match="color"):
        DetectorConfig.from_dict({**values, "head": {**values["head"], "color": 1}})


def test_pixels_of_another_shape_are_refused(detector):
    with pytest.raises(ConfigError, match=r"\(2, 3, 128, 128\)"):
        detector(torch.zeros(2, 3, 128, 128))
