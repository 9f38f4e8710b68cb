"""Running a batch on the CPU a few images at a time, so that the activations stay in the caches."""

from __future__ import annotations

import numpy as np

from vim_deploy.engines.tensors import TensorSpec
from vim_deploy.tasks.spec import TaskSpec

# With images of this many pixels two threads are as busy with one image as with several, and the activations
# of a second image would evict those of the first one from the caches.
_PIXELS_OF_TWO_THREADS = 224 * 224


def can_split(task: TaskSpec, input: TensorSpec, outputs: tuple[TensorSpec, ...]) -> bool:
    """Whether a batch can be run in parts: its size is dynamic, and every output has one row per image."""
    return task.batchable and input.shape[0] is None and {spec.name for spec in outputs} <= set(task.outputs)


def images_at_once(shape: tuple[int, ...], threads: int) -> int:
    """How many images of a batch of this shape, (batch, channels, height, width), to run together."""
    height, width = shape[2:]
    return -(-threads // 2) * max(1, _PIXELS_OF_TWO_THREADS // (height * width))


def split(pixels: np.ndarray, at_once: int) -> list[np.ndarray]:
    """The batch in as few parts of at most `at_once` images as possible: views of similar size, in order."""
    count = max(1, -(-len(pixels) // at_once))
    images = len(pixels)
    return [pixels[images * part // count : images * (part + 1) // count] for part in range(count)]
