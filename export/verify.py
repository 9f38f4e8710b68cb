"""Comparison of an exported file with the eager model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from vim_deploy.engines.onnxruntime.session import make_session
from vim_deploy.errors import ExportError
from vim_deploy.export.eager import EagerModel
from vim_deploy.export.task import INPUT_NAME, Inputs, TaskModule
from vim_deploy.ops import ort_library
from vim_deploy.parity.difference import Difference
from vim_deploy.precision import Precision


def compare_with_eager(path: Path, task: TaskModule, pixels: Inputs) -> dict[str, dict[str, Any]]:
    """Compare a float32 file, run with our operator library and without it, with the eager model.

    `pixels` (images, channels, height, width) float32. Returns the differences for the metadata, as `library`
    and `function_body`. Raises ExportError if one of them is beyond the tolerance.
    """
    expected = EagerModel(task).run(pixels)
    figures = {}
    for name, library in (("library", ort_library()), ("function_body", None)):
        found = task.difference(expected, run_file(task, path, pixels, library))
        check_difference(path, name, found)
        figures[name] = asdict(found)
    return figures


def run_file(task: TaskModule, model: Path | bytes, pixels: Inputs, library: Path | None) -> list[np.ndarray]:
    """The outputs of a file, or of its bytes, on the CPU; without `library`, of the function body."""
    session = make_session(model, library=library)
    if isinstance(pixels, Mapping):
        arrays: list[np.ndarray] = session.run(list(task.outputs), dict(pixels))
        return arrays
    size = session.get_inputs()[0].shape[0]
    step = size if isinstance(size, int) else 1
    # For a fixed batch size, the last image is repeated to fill the last batch.
    padded = np.concatenate([pixels, pixels[-1:].repeat(-len(pixels) % step, axis=0)])
    names = list(task.outputs)
    settings = {name: np.array(value, np.float32) for name, value in task.spec.settings.items()}
    parts = [
        session.run(names, {INPUT_NAME: padded[i : i + step], **settings})
        for i in range(0, len(padded), step)
    ]
    joined = task.join(parts)
    return joined if len(padded) == len(pixels) else [values[: len(pixels)] for values in joined]


def check_difference(path: Path, how: str, found: Difference) -> None:
    """Raises ExportError if `found`, from a float32 file run `how`, is beyond the tolerance."""
    if not found.within(Precision.FP32):
        raise ExportError(
            f"{path} disagrees with the eager model ({how.replace('_', ' ')}): largest "
            f"difference {found.max_abs:.3g} on values up to {found.max_reference:.3g} (relative "
            f"{found.relative:.3g}; expected at most {Precision.FP32.tolerance:g}). "
            "The file was deleted. Check the versions of torch and onnxscript against constraints.txt."
        )
