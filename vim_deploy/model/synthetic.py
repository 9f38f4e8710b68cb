"""Weights and images from a seed, for measuring and for tests: the same numbers on every machine.

A stream of numbers is identified by a seed and a name; a weight's stream has the weight's name, so adding or
removing other weights changes nothing. Every kind of weight is kept away from the values training starts
from, so that no term of the model can go missing unnoticed. Needs PyTorch only to fill a model.
"""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import nn

# First line whose ending matches the weight's name decides: mean, standard deviation.
_BY_NAME: list[tuple[tuple[str, ...], float, float]] = [
    ((".D", ".D_b"), 1.0, 0.4),
    (("dt_proj.bias", "dt_proj_b.bias"), -3.0, 1.0),
    (("norm.weight", "norm_f.weight"), 1.0, 0.2),
    (("norm.bias", "norm_f.bias"), 0.0, 0.1),
    (("pos_embed",), 0.0, 0.5),
    (("cls_token", "cls_token_head", "cls_token_tail"), 0.0, 1.0),
    (("gamma",), 0.5, 0.2),
]
_DECAY = ("A_log", "A_b_log")
_DECAY_DEVIATION = 0.25
_SCAN_INPUTS = ("x_proj.weight", "x_proj_b.weight")
_BIAS_DEVIATION = 0.1


def uniform_stream(seed: int, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Uniform numbers of mean 0 and variance 1 in C order."""
    entropy = np.random.SeedSequence([seed, zlib.crc32(name.encode())])
    raw = np.random.PCG64(entropy).random_raw(math.prod(shape))
    unit = (np.asarray(raw, dtype=np.uint64) >> np.uint64(11)).astype(np.float64) / 2**53
    return ((2 * unit - 1) * math.sqrt(3)).reshape(shape)


def generated_weight(name: str, shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    """The weight of that name, with mean and spread by its kind."""
    mean, deviation = _moments(name, shape)
    return (mean + deviation * uniform_stream(seed, name, shape)).astype(np.float32)


def generated_pixels(shape: tuple[int, int, int, int], seed: int = 0) -> NDArray[np.float32]:
    """Preprocessed images (batch, channels, height, width) of noise."""
    name = f"image/{'x'.join(map(str, shape))}"
    return uniform_stream(seed, name, shape).astype(np.float32)


def fill_generated(model: nn.Module, seed: int = 0) -> None:
    """Overwrite every parameter of a model in place; buffers are left alone."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(generated_weight(name, tuple(parameter.shape), seed)))


def _moments(name: str, shape: tuple[int, ...]) -> tuple[float | NDArray[np.float64], float]:
    if name.endswith(_DECAY):
        return np.log(np.arange(1, shape[-1] + 1, dtype=np.float64)), _DECAY_DEVIATION
    for endings, mean, deviation in _BY_NAME:
        if name.endswith(endings):
            return mean, deviation
    fan = math.prod(shape[1:])
    if name.endswith(_SCAN_INPUTS):
        return 0.0, 2 / math.sqrt(fan)
    return 0.0, _BIAS_DEVIATION if name.endswith(".bias") else 1 / math.sqrt(fan)
