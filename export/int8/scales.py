"""The scales of one matmul in int8, and factors that move the range of its inputs into its weights.

Activations of Vim have channels with values far larger than those of the others, which one scale per tensor
rounds coarsely. Dividing a channel of the inputs by a factor and multiplying its row of the weights by the
same factor does not change the output (SmoothQuant, arXiv 2211.10438, section 4). How far the range is moved,
and where the inputs are clipped, is chosen by the error of the output on sampled rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vim_deploy.engines.onnxruntime.fusion.smoothing import divisors
from vim_deploy.export.int8.samples import Samples

LARGEST = 127
_STRENGTHS = (0.0, 0.35, 0.5, 0.65, 0.8)
_CLIPPING = (1.0, 0.85, 0.7, 0.5, 0.35)  # of the largest input
_SMALLEST = 1e-8
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


def choose_scales(weights: np.ndarray, samples: Samples, *, foldable: bool) -> Scales:
    """The scales with the smallest error. `foldable`: factors need no operator of their own."""
    best = {False: _none(), True: _none()}
    for candidate in _candidates(weights, samples):
        smoothed = candidate.factors is not None
        if candidate.error < best[smoothed].error:
            best[smoothed] = candidate
    limit = best[False].error * (1.0 if foldable else _WORTHWHILE)
    return best[True] if best[True].error < limit else best[False]


def _candidates(weights: np.ndarray, samples: Samples) -> Iterator[Scales]:
    exact = samples.rows @ weights
    power = float(np.square(exact).sum()) or 1.0
    for strength in _STRENGTHS:
        factors = _factors(weights, samples.largest, strength) if strength else None
        scaled, largest, rows = weights, samples.largest, samples.rows
        if factors is not None:
            scaled, largest, rows = weights * factors[:, None], largest / factors, rows / factors
        rounded = dequantized(*quantize_weights(scaled))
        for ratio in _CLIPPING:
            scale = max(float(largest.max()) * ratio, _SMALLEST) / LARGEST
            inputs = np.clip(np.rint(rows / np.float32(scale)), -LARGEST - 1, LARGEST) * np.float32(scale)
            error = float(np.square(inputs @ rounded - exact).sum()) / power
            yield Scales(factors, scale, error)


def _none() -> Scales:
    return Scales(None, _SMALLEST, float("inf"))


def _factors(weights: np.ndarray, largest: np.ndarray, strength: float) -> np.ndarray:
    return divisors(largest, weights, strength, _SMALLEST).clip(1e-3, 1e3)


def quantize_weights(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 weights (depth, columns), and the scales (columns)."""
    scales = (np.maximum(np.abs(weights).max(axis=0), _SMALLEST) / LARGEST).astype(np.float32)
    return np.rint(weights / scales).astype(np.int8), scales


def dequantized(weights: np.ndarray, scales: np.ndarray) -> np.ndarray:
    return weights.astype(np.float32) * scales
