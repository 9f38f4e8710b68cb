"""Small detectors with random weights, and images for them."""

from __future__ import annotations

from typing import Any

import torch
from dense.golden_detector import golden_config
from torch import Tensor

from vim_deploy.dense.detector import Detector
from vim_deploy.model.synthetic import fill_synthetic


def random_detector(seed: int, **changes: Any) -> Detector:
    """The reference's small configuration; class scores are spread, so that some objects stand out."""
    model = Detector(golden_config().replace(**changes))
    fill_synthetic(model, seed)
    for predictor in model.roi_heads.box_predictor:
        predictor.cls_score.weight.data *= 10
    return model.eval().requires_grad_(False)


def random_image(seed: int) -> Tensor:
    """Noise of several scales (1, 3, 128, 128), the right quarter of it padding."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.zeros(1, 3, 128, 128)
    for size in (4, 16, 64, 128):
        noise = torch.randn(1, 3, size, size, generator=generator)
        pixels += torch.nn.functional.interpolate(noise, (128, 128), mode="bilinear")
    pixels[:, :, :, 96:] = 0
    return pixels
