"""The reference's reduced segmenter with its weights."""

from __future__ import annotations

import torch
from golden_data import load_json, load_tensors

from vim_deploy.dense.segmentation import SegmenterConfig
from vim_deploy.dense.segmenter import Segmenter


def weights_below(tensors, prefix):
    return {
        name.removeprefix(prefix): torch.from_numpy(value)
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def golden_segmenter() -> Segmenter:
    model = Segmenter(SegmenterConfig.from_reference(load_json("segmenter"))).eval()
    model.load_state_dict(weights_below(load_tensors("segmenter"), "weights."), strict=True)
    return model
