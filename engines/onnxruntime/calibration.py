"""Smoothing factors of a file from a folder of images: `vim-build --calibrate`."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from vim_deploy.data.decode import decode
from vim_deploy.data.discover import Discovery
from vim_deploy.engines.onnxruntime.fusion.smoothing import factors_of, with_ranges
from vim_deploy.engines.onnxruntime.limited import run_limited
from vim_deploy.engines.source import SourceModel
from vim_deploy.engines.tensors import TensorSpec
from vim_deploy.errors import EngineError, ImageError
from vim_deploy.ops.library import ort_library
from vim_deploy.tasks.registry import TASKS

MAX_IMAGES = 32
_BATCH = 8


def calibrate(source: SourceModel, folder: Path) -> dict[str, np.ndarray]:
    """The factors of matmul inputs for `fuse_matmuls`, from the first images of a folder.

    Raises ImageError for an image that cannot be read, EngineError for a file that does not take images.
    """
    if TASKS.get(source.metadata.task).arrays:
        raise EngineError(f"{source.record.name} takes named arrays, not images; leave out --calibrate.")
    data, outputs = with_ranges(source.data)
    names = list(dict.fromkeys(outputs.values()))
    probed = replace(source, outputs=tuple(TensorSpec(name, "float32", (None,)) for name in names))
    largest: dict[str, np.ndarray] = {}
    for pixels in _batches(source, folder):
        found = run_limited(probed, data, pixels, library=ort_library()).expected
        largest = {name: np.maximum(found[name], largest.get(name, 0.0)) for name in names}
    for name, value in largest.items():
        if not np.isfinite(value).all():
            raise EngineError(f"{source.record.name}: {name} is not finite on the images of {folder}.")
    return factors_of(source.data, {matmul: largest[name] for matmul, name in outputs.items()})


def _batches(source: SourceModel, folder: Path) -> list[np.ndarray]:
    preprocessing, images = source.metadata.preprocessing, []
    for item in islice(Discovery([folder]), MAX_IMAGES):
        try:
            images.append(preprocessing(decode(item.path).image))
        except ImageError as error:
            raise ImageError(f"--calibrate: {item.path} {error}") from None
    size = source.input.shape[0] or _BATCH
    batches = [np.stack(images[start : start + size]) for start in range(0, len(images), size)]
    fixed = source.input.shape[0]
    if fixed is not None:
        batches = [part for part in batches if len(part) == fixed]
    if not batches:
        raise ImageError(f"--calibrate: no images, or less than a batch, in {folder}.")
    return batches
