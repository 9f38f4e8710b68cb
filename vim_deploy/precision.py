"""The numeric precisions of exported files and engines, with everything that depends on them."""

from __future__ import annotations

import math
from enum import Enum


class Precision(str, Enum):
    """Spelled in metadata and options by its value.

    A file is in FP32, FP16 or BF16: the type of its blocks' weights and activations; or in INT8 or FP8:
    float32 except for the inputs and weights of its large matmuls, which are quantized. An engine has the
    precision of its file, or BF16_MATMUL or INT8_MATMUL: float32 except for the inputs of matmuls, which are
    bfloat16, or int8 with one scale per token and per column of the weights.
    """

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    BF16_MATMUL = "bf16-matmul"
    INT8 = "int8"
    FP8 = "fp8"
    INT8_MATMUL = "int8-matmul"

    def __str__(self) -> str:
        return str(self.value)

    @property
    def tolerance(self) -> float:
        """The largest difference of a correct artifact, relative to the largest reference value.

        Infinite where differences say little, see `judged_by_accuracy`.
        """
        return _FACTS[self][0]

    @property
    def judged_by_accuracy(self) -> bool:
        """Whether artifacts are accepted by the accuracy of their predictions, not by differences."""
        return self.is_quantized or self is Precision.INT8_MATMUL

    @property
    def is_quantized(self) -> bool:
        """Whether files have QuantizeLinear and DequantizeLinear around their large matmuls."""
        return self in QUANTIZED_PRECISIONS

    @property
    def signal_to_noise_floor(self) -> float:
        """The smallest signal-to-noise ratio (dB) of a correct artifact: the tolerance, as a power ratio.

        The largest difference alone would accept errors on every output as large as the worst one.
        """
        return -20 * math.log10(self.tolerance)

    @property
    def dtype(self) -> str:
        """Name of the type of weights and activations in numpy (with ml_dtypes) and PyTorch."""
        return _FACTS[self][1]

    @property
    def activations(self) -> Precision:
        """The precision of everything but matmuls: FP32, FP16 or BF16."""
        return next(precision for precision in FLOAT_PRECISIONS if precision.dtype == self.dtype)

    @property
    def onnx_type(self) -> int:
        """`dtype` as a value of onnx.TensorProto.DataType."""
        return {"float32": 1, "float16": 10, "bfloat16": 16}[self.dtype]


# The tolerance, and the type of weights and activations. Tolerance of fp32: full-size models differ from
# float64 by up to 1.4e-5 in plain eager evaluation, and another order of summation costs as much again. fp16
# and bf16: the accumulated rounding of 24 blocks. bf16-matmul: synthetic weights amplify rounding more than
# trained ones and reach 1.3e-1 on the inputs of the build's self-check. int8: single images of trained models
# reach 1.2e-1. fp8: as int8; the rounding of both differs by less than a factor of two. int8-matmul: the
# rounding of inputs is five times as large as that of bfloat16, so that differences of synthetic weights mean
# nothing.
_FACTS = {
    Precision.FP32: (2e-4, "float32"),
    Precision.FP16: (2e-2, "float16"),
    Precision.BF16: (1e-1, "bfloat16"),
    Precision.BF16_MATMUL: (2e-1, "float32"),
    Precision.INT8: (3e-1, "float32"),
    Precision.FP8: (3e-1, "float32"),
    Precision.INT8_MATMUL: (math.inf, "float32"),
}
# The types of floating-point tensors in a file.
FLOAT_PRECISIONS = (Precision.FP32, Precision.FP16, Precision.BF16)
# The types of quantized matmuls in a file.
QUANTIZED_PRECISIONS = (Precision.INT8, Precision.FP8)
# What vim-export can write.
FILE_PRECISIONS = (*FLOAT_PRECISIONS, *QUANTIZED_PRECISIONS)
# The precisions of engines whose matmuls have another precision than their file, by the precision of matmuls.
MATMUL_PRECISIONS = {"bf16": Precision.BF16_MATMUL, "int8": Precision.INT8_MATMUL}
