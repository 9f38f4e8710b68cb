"""The exported file against the eager model, right after it was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from vim_deploy.engines.onnxruntime.session import make_session
from vim_deploy.errors import ExportError
from vim_deploy.export.onnx import INPUT_NAME
from vim_deploy.export.task import TaskModule
from vim_deploy.metadata import COMPARED_AT
from vim_deploy.ops import ort_library, use_scan
from vim_deploy.parity.difference import Difference
from vim_deploy.precision import Precision


def compare_with_eager(
    path: Path, task: TaskModule, pixels: np.ndarray, precision: str
) -> dict[str, dict[str, Any]]:
    """Run the file with our operator library and without it, and compare both with the eager model.

    `pixels` (images, channels, height, width) float32. The eager model runs the reference operator, not the
    kernel that the library also uses. Returns the figures under `library` and `function_body`, as they go
    into the file's metadata. Raises ExportError when one of them is beyond the precision's tolerance.
    """
    expected = run_eager(task, pixels)
    figures = {}
    for name, library in (("library", ort_library()), ("function_body", None)):
        found = task.difference(expected, run_file(task, path, pixels, library))
        refuse_if_apart(path, name, found, precision)
        figures[name] = found.to_dict()
    return figures


def run_eager(task: TaskModule, pixels: np.ndarray) -> list[np.ndarray]:
    """The eager outputs by the reference operator, one image at a time to keep memory low."""
    with torch.inference_mode(), use_scan("reference"):
        settings = [torch.tensor(value) for value in _compared_at(task).values()]
        parts = [_arrays(task(torch.from_numpy(pixels[i : i + 1]), *settings)) for i in range(len(pixels))]
    return task.join(parts)


def _compared_at(task: TaskModule) -> dict[str, float]:
    return {name: COMPARED_AT[name] for name in task.settings}


def _arrays(outputs: torch.Tensor | tuple[torch.Tensor, ...]) -> list[np.ndarray]:
    values = (outputs,) if isinstance(outputs, torch.Tensor) else outputs
    return [value.float().numpy() if value.is_floating_point() else value.numpy() for value in values]


def run_file(
    task: TaskModule, model: Path | bytes, pixels: np.ndarray, library: Path | None
) -> list[np.ndarray]:
    """The outputs of a file, or of its bytes, on the processor; without `library` by the function body."""
    session = make_session(model, library=library)
    size = session.get_inputs()[0].shape[0]
    step = size if isinstance(size, int) else 1
    # A fixed batch gets its last rows twice rather than a changed shape; the surplus is cut off again.
    padded = np.concatenate([pixels, pixels[-1:].repeat(-len(pixels) % step, axis=0)])
    names = list(task.outputs)
    settings = {name: np.array(value, np.float32) for name, value in _compared_at(task).items()}
    parts = [
        session.run(names, {INPUT_NAME: padded[i : i + step], **settings})
        for i in range(0, len(padded), step)
    ]
    joined = task.join(parts)
    return joined if len(padded) == len(pixels) else [values[: len(pixels)] for values in joined]


def refuse_if_apart(path: Path, how: str, found: Difference, precision: str) -> None:
    """Raises ExportError where `found`, a comparison of the file run `how`, is beyond the tolerance."""
    if not found.within(precision):
        raise ExportError(
            f"{path} disagrees with the eager model ({how.replace('_', ' ')}): largest "
            f"difference {found.max_abs:.3g} on values up to {found.max_reference:.3g} (relative "
            f"{found.relative:.3g}; expected at most {Precision(precision).tolerance:g} for {precision}). "
            "The file was not kept. Check the versions of torch and onnxscript against constraints.txt."
        )
