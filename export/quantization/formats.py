"""The 8-bit types that matmuls are quantized to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, helper

from vim_deploy.export.opset import OPSET
from vim_deploy.precision import Precision

SMALLEST_SCALE = 1e-8


@dataclass(frozen=True)
class Format:
    """How the inputs and weights of a matmul are stored.

    `largest`: absolute value. `opset`: the first in which QuantizeLinear has the type, at least OPSET.
    `per_column`: one scale for each column of the weights, otherwise one for all. `strengths` of smoothing
    and `clipping` (of the largest input) are the candidates of the search for scales.
    """

    onnx_type: int
    largest: float
    opset: int
    per_column: bool
    strengths: tuple[float, ...]
    clipping: tuple[float, ...]

    @property
    def dtype(self) -> np.dtype:
        return helper.tensor_dtype_to_np_dtype(self.onnx_type)

    def rounded(self, values: np.ndarray) -> np.ndarray:
        """Values that were divided by their scale, in this type; those out of its range are clipped."""
        if np.issubdtype(self.dtype, np.integer):
            values = np.rint(values)
            return values.clip(-self.largest - 1, self.largest).astype(self.dtype)
        return values.clip(-self.largest, self.largest).astype(self.dtype)

    def quantize_weights(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights (depth, columns) in this type, and their scales: (columns), or () for one."""
        largest = np.abs(weights).max(axis=0 if self.per_column else None)
        scales = np.asarray(np.maximum(largest, SMALLEST_SCALE) / self.largest, np.float32)
        return self.rounded(weights / scales), scales


def dequantized(values: np.ndarray, scales: np.ndarray | np.float32) -> np.ndarray:
    """The float32 values of an array of `Format.rounded`."""
    return values.astype(np.float32) * scales


INT8 = Format(
    TensorProto.INT8,
    largest=127,
    opset=OPSET,
    per_column=True,
    strengths=(0.0, 0.35, 0.5, 0.65, 0.8),
    clipping=(1.0, 0.85, 0.7, 0.5, 0.35),
)
# Rounding to a floating-point type is relative to each value. Channels and columns of different magnitudes do
# not need smoothing, clipping or scales of their own; TensorRT's FP8 matmuls take one scale for all weights.
FP8 = Format(
    TensorProto.FLOAT8E4M3FN, largest=448, opset=19, per_column=False, strengths=(0.0,), clipping=(1.0,)
)
FORMATS: Mapping[Precision, Format] = {Precision.INT8: INT8, Precision.FP8: FP8}
