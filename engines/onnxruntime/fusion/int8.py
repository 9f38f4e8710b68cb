"""Weights of matmuls in int8, with one scale per column; see plugins/fused/README.md."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from vim_deploy.engines.onnxruntime.fusion.matmul import WeightFormat
from vim_deploy.engines.onnxruntime.fusion.packing import grouped, packed_tensor

MOST = 127
SMALLEST = 1e-36  # rows of inputs with no larger value count as 0
_DEPTH = 4  # values of a column that are side by side
_INPUT_OFFSET = 128  # added to inputs by instructions for unsigned ones


def quantize(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integers (depth, columns) and scales (columns): weights are about integers * scales."""
    largest = np.abs(weights).max(axis=0).astype(np.float32)
    scales = largest / np.float32(MOST)
    safe = np.where(scales > 0, scales, np.float32(1))
    return np.rint(weights / safe).clip(-MOST, MOST).astype(np.int8), scales


def _in_int8(name: str, weights: np.ndarray) -> onnx.TensorProto:
    """The first two rows of a panel have the columns' offsets (int32) and scales (float32)."""
    integers, scales = quantize(weights)
    offsets = -_INPUT_OFFSET * integers.sum(axis=0, dtype=np.int32)
    heads = [row[None, :, None].view(np.int8) for row in (offsets.astype("<i4"), scales.astype("<f4"))]
    return packed_tensor(name, TensorProto.INT8, np.concatenate([*heads, grouped(integers, _DEPTH)]))


INT8 = WeightFormat("Int8", _in_int8, smoothing=True)
