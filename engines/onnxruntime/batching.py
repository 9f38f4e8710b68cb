"""How a batch is run on a processor: a few images at a time, whose activations stay in the caches."""

from __future__ import annotations

import numpy as np

from vim_deploy.engines.tensors import TensorSpec

# Outputs with one row per image, which parts of a batch can be joined from.
_BY_IMAGE = {"logits", "features"}
# With images of this many pixels two threads are as busy with one as with several, and the activations of a
# second one would push those of the first out of their caches.
_PIXELS_OF_TWO_THREADS = 224 * 224


def images_at_once(
    input: TensorSpec, outputs: tuple[TensorSpec, ...], shape: tuple[int, ...], threads: int
) -> int:
    """How many images of a batch of this shape, (batch, channels, height, width), to run together."""
    if input.shape[0] is not None or {spec.name for spec in outputs} - _BY_IMAGE:
        return max(1, shape[0])
    height, width = shape[2:]
    return -(-threads // 2) * max(1, _PIXELS_OF_TWO_THREADS // (height * width))


def parts(pixels: np.ndarray, at_once: int) -> list[np.ndarray]:
    """The batch in as few parts of at most `at_once` images as possible: views, in order, of like size."""
    count = max(1, -(-len(pixels) // at_once))
    images = len(pixels)
    return [pixels[images * part // count : images * (part + 1) // count] for part in range(count)]
