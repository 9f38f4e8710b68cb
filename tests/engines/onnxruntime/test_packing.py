"""The packed weights of fused matmuls: the layout in plugins/fused/README.md, and nothing beyond it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from vim_deploy.engines.onnxruntime.fusion.int8 import INT8, quantize
from vim_deploy.engines.onnxruntime.fusion.matmul import BFLOAT16, FLOAT32, WeightFormat

# Columns, and the widths of their panels.
PANELS = {1: [16], 16: [16], 17: [32], 44: [48], 48: [48], 49: [48, 16], 56: [48, 16], 96: [48, 48]}
PANELS |= {100: [48, 48, 16], 120: [48, 48, 32]}
DEPTH = 7  # not a multiple of the neighbors that bfloat16 and int8 have side by side


def weights_of(columns: int) -> np.ndarray:
    return np.random.default_rng(columns).standard_normal((DEPTH, columns)).astype(np.float32)


def unpacked(tensor: onnx.TensorProto, rows: int, widths: list[int], lane: str) -> np.ndarray:
    """The rows of all panels side by side, in lanes of 32 bits."""
    lanes, panels = np.frombuffer(tensor.raw_data, lane), []
    for width in widths:
        panels.append(lanes[: rows * width].reshape(rows, width))
        lanes = lanes[rows * width :]
    assert not lanes.size
    return np.concatenate(panels, axis=1)


@pytest.mark.parametrize(("columns", "widths"), PANELS.items())
def test_float32(columns, widths):
    weights = weights_of(columns)
    rows = unpacked(FLOAT32.pack("w", weights), DEPTH, widths, "<f4")
    np.testing.assert_array_equal(rows[:, :columns], weights)
    assert not rows[:, columns:].any()


@pytest.mark.parametrize(("columns", "widths"), PANELS.items())
def test_bfloat16(columns, widths):
    weights = weights_of(columns)
    pairs = unpacked(BFLOAT16.pack("w", weights), (DEPTH + 1) // 2, widths, "<u4")
    assert not pairs[:, columns:].any() and not (pairs[-1] >> 16).any()
    even, odd = (pairs << 16).view(np.float32), (pairs & np.uint32(0xFFFF0000)).view(np.float32)
    rows = np.stack([even, odd], axis=1).reshape(-1, pairs.shape[1])[:DEPTH, :columns]
    assert (np.abs(rows - weights) <= np.abs(weights) / 256).all()


@pytest.mark.parametrize(("columns", "widths"), PANELS.items())
def test_int8(columns, widths):
    integers, scales = quantize(weights_of(columns))
    rows = unpacked(INT8.pack("w", weights_of(columns)), 2 + (DEPTH + 3) // 4, widths, "<i4")
    assert not rows[:, columns:].any()
    np.testing.assert_array_equal(rows[0, :columns], -128 * integers.sum(axis=0, dtype=np.int32))
    np.testing.assert_array_equal(rows[1].view(np.float32)[:columns], scales)
    groups = np.ascontiguousarray(rows[2:, :columns]).view(np.int8).reshape(-1, columns, 4)
    in_order = groups.transpose(0, 2, 1).reshape(-1, columns)
    np.testing.assert_array_equal(in_order[:DEPTH], integers)
    assert not in_order[DEPTH:].any()


@pytest.mark.parametrize(("form", "kind"), [(FLOAT32, "f4"), (BFLOAT16, "u2"), (INT8, "i1")])
def test_the_tensor_has_one_axis_with_all_values(form: WeightFormat, kind: str):
    tensor = form.pack("w", weights_of(56))
    assert list(tensor.dims) == [len(tensor.raw_data) // np.dtype(kind).itemsize]
