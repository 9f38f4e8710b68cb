"""ONNX translations of the custom PyTorch operators of detectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from onnx import numpy_helper
from onnxscript import opset18 as op

# Imported to register the PyTorch operators.
import vim_deploy.dense.boxes
import vim_deploy.dense.roi  # noqa: F401


def detection_operators() -> dict[Callable[..., Any], Callable[..., Any]]:
    """The function that writes each PyTorch operator in ONNX, for the exporter."""
    return {
        torch.ops.vim_deploy.nms.default: _nms,
        torch.ops.vim_deploy.roi_align.default: _roi_align,
    }


def _nms(boxes: Any, scores: Any, score_threshold: Any, iou_threshold: float, limit: int) -> Any:
    """NonMaxSuppression returns a variable number of rows; padding gives the best `limit` a fixed shape."""
    constant: Any = op.Constant(value=numpy_helper.from_array(np.array([iou_threshold], dtype=np.float32)))
    selected: Any = op.NonMaxSuppression(
        op.Unsqueeze(boxes, _int64(0)),
        op.Unsqueeze(scores, _int64(0)),
        _int64(limit),
        constant,
        score_threshold,
    )
    pairs: Any = op.Slice(selected, _int64(1), _int64(3), _int64(1))  # of (image, class, box)
    kept = op.Concat(op.GatherND(scores, pairs), op.Expand(score_threshold, _int64(limit)), axis=0)
    no_pairs: Any = op.Constant(value=numpy_helper.from_array(np.zeros((limit, 2), dtype=np.int64)))
    best, order = op.TopK(kept, _int64(limit), axis=0, largest=1, sorted=1)
    return op.Gather(op.Concat(pairs, no_pairs, axis=0), order, axis=0), best


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
