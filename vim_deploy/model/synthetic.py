"""Weights and images generated from a seed, for measurements and tests: the same values on every machine.

A stream of numbers is identified by a seed and a name. A weight's stream has the weight's name, so that it
does not depend on other weights. All weights differ from the initial values of training, so that tests detect
the omission of any term of the model. Only filling a model requires PyTorch.
"""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vim_deploy.text import by

if TYPE_CHECKING:
    from torch import nn

# Mean and standard deviation by the ending of the weight's name; the first match applies.
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
    """Uniform numbers with mean 0 and variance 1, in C order."""
    entropy = np.random.SeedSequence([seed, zlib.crc32(name.encode())])
    raw = np.random.PCG64(entropy).random_raw(math.prod(shape))
    unit = (np.asarray(raw, dtype=np.uint64) >> np.uint64(11)).astype(np.float64) / 2**53
    return ((2 * unit - 1) * math.sqrt(3)).reshape(shape)


def synthetic_weight(name: str, shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    """The weight of that name, with mean and standard deviation depending on the name."""
    mean, deviation = _moments(name, shape)
    return (mean + deviation * uniform_stream(seed, name, shape)).astype(np.float32)


def synthetic_pixels(shape: tuple[int, int, int, int], seed: int = 0) -> NDArray[np.float32]:
    """Noise as preprocessed images (batch, channels, height, width)."""
    name = f"image/{by(shape)}"
    return uniform_stream(seed, name, shape).astype(np.float32)


def fill_synthetic(model: nn.Module, seed: int = 0) -> None:
    """Overwrite all parameters of a model in place, but not its buffers."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(synthetic_weight(name, tuple(parameter.shape), seed)))


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
