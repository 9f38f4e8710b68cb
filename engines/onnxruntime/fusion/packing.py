"""Tensors of packed weights."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

_PANEL = 48  # columns
_LAST_PANEL = 16  # the last panel's columns are a multiple of this


def grouped(weights: np.ndarray, size: int) -> np.ndarray:
    """(depth / size rounded up, columns, size): neighbors along the depth side by side, padded with zeros."""
    depth, columns = weights.shape
    padded = np.pad(weights, ((0, -depth % size), (0, 0)))
    return padded.reshape(-1, size, columns).transpose(0, 2, 1)


def to_bfloat16(values: np.ndarray) -> np.ndarray:
    """The bits (uint16) of finite float32 values rounded to bfloat16: to nearest, ties to even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + (0x7FFF + (bits >> 16 & 1))) >> 16).astype(np.uint16)


def packed_tensor(name: str, kind: int, rows: np.ndarray) -> onnx.TensorProto:
    """Rows (rows, columns, values of a column) in panels of columns, one after another, without axes."""
    columns = np.pad(rows, ((0, 0), (0, -rows.shape[1] % _LAST_PANEL), (0, 0)))
    starts = range(0, columns.shape[1], _PANEL)
    panels = np.concatenate([columns[:, start : start + _PANEL].ravel() for start in starts])
    return raw_tensor(name, kind, panels)


def raw_tensor(name: str, kind: int, values: np.ndarray) -> onnx.TensorProto:
    """A tensor of the ONNX type `kind`; of bfloat16, the values are its bits (uint16)."""
    raw = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes()
    return helper.make_tensor(name, kind, values.shape, raw, raw=True)
