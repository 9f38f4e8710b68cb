"""The scales of a quantized matmul, and factors that move the range of its inputs into its weights.

Activations of Vim have channels with values far larger than those of the others, for which integers with one
scale per tensor are coarse. Dividing a channel of the inputs by a factor and multiplying its row of the
weights by the same factor does not change the output (SmoothQuant, arXiv 2211.10438, section 4). How far the
range is moved, and where the inputs are clipped, is chosen by the error of the output on sampled rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vim_deploy.engines.onnxruntime.fusion.smoothing import divisors
from vim_deploy.export.quantization.formats import SMALLEST_SCALE, Format, dequantized
from vim_deploy.export.quantization.samples import Samples

# A multiplication of the inputs must reduce the squared error so far, if it is an operator of its own.
_WORTHWHILE = 0.5


@dataclass(frozen=True)
class Scales:
    """`factors` (depth): of the rows of the weights, None for all 1; the inputs are divided by them.

    `inputs`: the scale of the inputs. `error`: the squared error of the output, relative to its square.
    """

    factors: np.ndarray | None
    inputs: float
    error: float


def choose_scales(form: Format, weights: np.ndarray, samples: Samples, *, foldable: bool) -> Scales:
    """The scales with the smallest error. `foldable`: factors need no operator of their own."""
    best = {False: _none(), True: _none()}
    for candidate in _candidates(form, weights, samples):
        smoothed = candidate.factors is not None
        if candidate.error < best[smoothed].error:
            best[smoothed] = candidate
    limit = best[False].error * (1.0 if foldable else _WORTHWHILE)
    return best[True] if best[True].error < limit else best[False]


def _candidates(form: Format, weights: np.ndarray, samples: Samples) -> Iterator[Scales]:
    exact = samples.rows @ weights
    power = float(np.square(exact).sum()) or 1.0
    for strength in form.strengths:
        factors = _factors(weights, samples.largest, strength) if strength else None
        scaled, largest, rows = weights, samples.largest, samples.rows
        if factors is not None:
            scaled, largest, rows = weights * factors[:, None], largest / factors, rows / factors
        rounded = dequantized(*form.quantize_weights(scaled))
        for ratio in form.clipping:
            scale = max(float(largest.max()) * ratio, SMALLEST_SCALE) / form.largest
            inputs = dequantized(form.rounded(rows / np.float32(scale)), np.float32(scale))
            error = float(np.square(inputs @ rounded - exact).sum()) / power
            yield Scales(factors, scale, error)


def _none() -> Scales:
    return Scales(None, SMALLEST_SCALE, float("inf"))


def _factors(weights: np.ndarray, largest: np.ndarray, strength: float) -> np.ndarray:
    return divisors(largest, weights, strength, SMALLEST_SCALE).clip(1e-3, 1e3)
