"""Smoothing factors of a file from a folder of images: `vim-build --calibrate`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from vim_deploy.data.calibration import calibration_images
from vim_deploy.data.loading import decode_path
from vim_deploy.engines.onnxruntime.fusion.smoothing import factors_of, with_ranges
from vim_deploy.engines.onnxruntime.limited import run_limited
from vim_deploy.engines.source import SourceModel
from vim_deploy.engines.tensors import TensorSpec
from vim_deploy.errors import EngineError, ImageError
from vim_deploy.files import is_folder, path_exists
from vim_deploy.ops.library import ort_library
from vim_deploy.tasks.registry import TASKS
from vim_deploy.text import plural

MAX_IMAGES = 32
_BATCH = 8


def calibrate(source: SourceModel, folder: Path) -> dict[str, np.ndarray]:
    """The factors of matmul inputs for `fuse_matmuls`, from at most MAX_IMAGES images of a folder.

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
    if not is_folder(folder):
        problem = "is not a folder" if path_exists(folder) else "does not exist"
        raise ImageError(f"--calibrate: {folder} {problem}; give a folder with images.")
    preprocessing, images = source.metadata.preprocessing, []
    for path in calibration_images([folder], MAX_IMAGES):
        try:
            images.append(preprocessing(decode_path(path).image))
        except ImageError as error:
            raise ImageError(f"--calibrate: {path}: {error}; remove it or give another folder.") from None
    if not images:
        raise ImageError(f"--calibrate: no images in {folder}; give a folder with images.")
    fixed = source.input.shape[0]
    size = fixed or _BATCH
    batches = [np.stack(images[start : start + size]) for start in range(0, len(images), size)]
    if fixed is not None:
        batches = [part for part in batches if len(part) == fixed]
    if not batches:
        raise ImageError(
            f"--calibrate: {plural(len(images), 'image')} in {folder}; {source.record.name} takes batches of "
            f"{fixed}."
        )
    return batches
