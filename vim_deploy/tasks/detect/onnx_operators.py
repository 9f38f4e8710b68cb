"""How a detector's own steps are written in ONNX: NonMaxSuppression, TopK and RoiAlign."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from onnx import numpy_helper
from onnxscript import opset18 as op

# These two register the PyTorch operators.
import vim_deploy.dense.boxes
import vim_deploy.dense.roi  # noqa: F401


def detection_operators() -> dict[Callable[..., Any], Callable[..., Any]]:
    """For the exporter: each PyTorch operator, and what takes its place."""
    return {
        torch.ops.vim_deploy.keep_best.default: _keep_best,
        torch.ops.vim_deploy.roi_align.default: _roi_align,
    }


def _keep_best(boxes: Any, scores: Any, threshold: Any, overlap: float, limit: int) -> Any:
    """NonMaxSuppression gives as many rows as it likes: filled up, the best `limit` have a fixed shape."""
    constant: Any = op.Constant(value=numpy_helper.from_array(np.array([overlap], dtype=np.float32)))
    selected: Any = op.NonMaxSuppression(
        op.Unsqueeze(boxes, _int64(0)),
        op.Unsqueeze(scores, _int64(0)),
        _int64(limit),
        constant,
        threshold,
    )
    pairs: Any = op.Slice(selected, _int64(1), _int64(3), _int64(1))  # of (image, class, box)
    kept = op.Concat(op.GatherND(scores, pairs), op.Expand(threshold, _int64(limit)), axis=0)
    no_places: Any = op.Constant(value=numpy_helper.from_array(np.zeros((limit, 2), dtype=np.int64)))
    best, order = op.TopK(kept, _int64(limit), axis=0, largest=1, sorted=1)
    return op.Gather(op.Concat(pairs, no_places, axis=0), order, axis=0), best


def _roi_align(level: Any, boxes: Any, scale: float, size: int) -> Any:
    image = op.Expand(_int64(0), op.Shape(boxes, start=0, end=1))
    return op.RoiAlign(
        level,
        boxes,
        image,
        coordinate_transformation_mode="half_pixel",
        mode="avg",
        output_height=size,
        output_width=size,
        sampling_ratio=0,
        spatial_scale=scale,
    )


def _int64(value: int) -> Any:
    return op.Constant(value=numpy_helper.from_array(np.array([value], dtype=np.int64)))
