"""The reference's small detector: configuration, weights and image."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from golden_data import load_json, load_tensors
from numpy.typing import NDArray

from vim_deploy.dense.config import BackboneConfig
from vim_deploy.dense.detector import Detector
from vim_deploy.dense.detector_config import DetectorConfig

_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # of pixel values 0 to 255
TOLERANCE = 5e-5  # float32, relative; largest error of upstream 7.0e-6


def golden_config() -> DetectorConfig:
    case = load_json("detector")
    rpn, heads = case["rpn"], case["roi_heads"]
    return DetectorConfig(
        backbone=BackboneConfig.from_reference(case["backbone"]["net"]),
        num_classes=heads["num_classes"],
        channels=case["backbone"]["out_channels"],
        anchor_sizes=tuple(size for (size,) in rpn["anchor_sizes"]),
        aspect_ratios=tuple(rpn["aspect_ratios"]),
        pre_nms_topk=rpn["pre_nms_topk"],
        post_nms_topk=rpn["post_nms_topk"],
        proposal_nms_iou_threshold=rpn["nms_thresh"],
        box_convs=len(heads["box_conv_dims"]),
        box_hidden=heads["box_fc_dims"][0],
        stage_weights=tuple((weights[0], weights[2]) for weights in heads["box_reg_weights"]),
        score_threshold=heads["score_thresh"],
        nms_iou_threshold=heads["nms_thresh"],
        detections_per_image=heads["topk"],
    )


def golden_weights() -> dict[str, torch.Tensor]:
    tensors = load_tensors("detector")
    return {
        name.removeprefix("weights."): torch.from_numpy(value)
        for name, value in tensors.items()
        if name.startswith("weights.")
    }


def golden_input() -> torch.Tensor:
    """The reference's image, normalized and padded: (1, 3, 128, 128)."""
    image = load_tensors("detector")["image"].astype(np.float64)
    mean, std = (np.array(values)[:, None, None] for values in (_MEAN, _STD))
    side = load_json("detector")["backbone"]["square_pad"]
    padded = np.zeros((1, 3, side, side), dtype=np.float32)
    padded[0, :, : image.shape[1], : image.shape[2]] = (image - mean) / std
    return torch.from_numpy(padded)


def golden_detector() -> Detector:
    model = Detector(golden_config())
    model.load_state_dict(golden_weights(), strict=True)
    return model.eval()


def assert_same_set(found: Any, expected: Any, tolerance: float) -> None:
    """Rows match one to one in some order, each within `tolerance` of its column's largest value."""
    found, expected = (np.asarray(rows, dtype=np.float64) for rows in (found, expected))
    assert found.shape == expected.shape
    scale = np.abs(expected).max(axis=0) + 1e-30
    apart: NDArray[np.float64] = (np.abs(found[:, None] - expected[None]) / scale).max(axis=2)
    nearest = apart.argmin(axis=1)
    assert sorted(nearest.tolist()) == list(range(len(expected))), "some rows do not match one to one"
    assert apart.min(axis=1).max(initial=0) <= tolerance
