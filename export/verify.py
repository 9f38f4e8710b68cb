"""Comparison of an exported file with the eager model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from vim_deploy.engines.onnxruntime.session import make_session, run_session, unsuitable_optimizers
from vim_deploy.errors import EngineError, ExportError
from vim_deploy.export.eager import EagerModel
from vim_deploy.export.task import INPUT_NAME, Inputs, TaskModule
from vim_deploy.ops import ort_library
from vim_deploy.parity.difference import Difference
from vim_deploy.precision import Precision

_SEED = 1
_FIXED = (
    "The network's code probably fixes a size that should be dynamic; leave its axis out of dynamic_axes, or "
    "change that code."
)


def compare_with_eager(path: Path, task: TaskModule, pixels: Inputs) -> dict[str, dict[str, Any]]:
    """Compare a float32 file, run with our operator library and without it, with the eager model.

    `pixels` (images, channels, height, width) float32, or arrays by name; the task may add inputs of other
    sizes. Returns the largest differences for the metadata, as `library` and `function_body`. Raises
    ExportError if one of them is beyond the tolerance.
    """
    eager = EagerModel(task)
    figures: dict[str, Difference] = {}
    for inputs in (pixels, *task.further_inputs(np.random.default_rng(_SEED))):
        expected = eager.run(inputs)
        for name, library in (("library", ort_library()), ("function_body", None)):
            actual = run_file(task, path, inputs, library)
            _check_shapes(path, expected, actual)
            found = task.difference(expected, actual)
            check_difference(path, name, found)
            figures[name] = max(figures.get(name, found), found, key=lambda item: item.relative)
    return {name: asdict(found) for name, found in figures.items()}


def compare_quantized(path: Path, task: TaskModule, pixels: Inputs, precision: Precision) -> dict[str, Any]:
    """Compare a quantized file with the eager model in float32, and return the difference for the metadata.

    The file before its quantization was compared by `compare_with_eager`; here only the rounding is judged.
    Raises ExportError if it is beyond the tolerance.
    """
    actual = run_file(task, path, pixels, ort_library(), disabled=unsuitable_optimizers(precision))
    found = task.difference(EagerModel(task).run(pixels), actual)
    if math.isinf(found.relative) and all(np.isfinite(values).all() for values in actual):
        raise ExportError(
            f"the detections of the {precision} file and of the eager model cannot be matched: rounding "
            "changes which uncertain objects are found. Export with --no-check, and compare the average "
            "precision of both with vim-validate (--images with --ground-truth)."
        )
    if not found.within(precision):
        raise ExportError(
            f"{precision} is too coarse for this model: the largest difference from float32 is "
            f"{found.max_abs:.3g} on values up to {found.max_reference:.3g} (relative {found.relative:.3g}; "
            f"expected at most {precision.tolerance:g}). Give images like those of the application with "
            "--calibrate, export with --precision bf16 or fp16, or with --no-check to accept it."
        )
    return asdict(found)


def run_file(
    task: TaskModule,
    model: Path | bytes,
    pixels: Inputs,
    library: Path | None,
    disabled: Sequence[str] = (),
) -> list[np.ndarray]:
    """The outputs of a file, or of its bytes, on the CPU; without `library`, of the function body.

    `disabled`: optimizers of ONNX Runtime that are left out.
    """
    session = make_session(model, library=library, disabled=disabled)
    if isinstance(pixels, Mapping):
        try:
            return list(run_session(session, task.outputs, pixels).values())
        except EngineError as error:
            raise ExportError(f"{error} {_FIXED}") from None
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


def _check_shapes(path: Path, expected: list[np.ndarray], found: list[np.ndarray]) -> None:
    shapes, others = ([values.shape for values in outputs] for outputs in (expected, found))
    if shapes != others:
        raise ExportError(f"{path} returns outputs of shapes {others}, the eager model {shapes}. {_FIXED}")


def check_difference(path: Path, how: str, found: Difference) -> None:
    """Raises ExportError if `found`, from a float32 file run `how`, is beyond the tolerance."""
    if not found.within(Precision.FP32):
        raise ExportError(
            f"{path} disagrees with the eager model ({how.replace('_', ' ')}): largest "
            f"difference {found.max_abs:.3g} on values up to {found.max_reference:.3g} (relative "
            f"{found.relative:.3g}; expected at most {Precision.FP32.tolerance:g}). "
            "The file was deleted. Check the versions of torch and onnxscript against constraints.txt."
        )
