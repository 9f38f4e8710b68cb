"""Files in float16 and bfloat16: what is cast, and how such a file is compared with the eager model.

The mixers' weights and activations have the file's precision. Float32 stay the input and the output,
embeddings, residual stream, norms and head, and what the scan takes in float32 by its contract. TensorRT 11
takes an engine's precision from these types alone.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from vim_deploy.errors import ExportError
from vim_deploy.export.onnx import Task
from vim_deploy.export.verify import refuse_if_apart, run_eager, run_file
from vim_deploy.model.vim import VisionMamba
from vim_deploy.ops import ort_library
from vim_deploy.parity import RELATIVE_TOLERANCE, difference
from vim_deploy.widened import widened

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def in_precision(model: VisionMamba, precision: str) -> VisionMamba:
    """The model itself for fp32, else a copy whose mixers compute in the precision.

    Raises ExportError for an unknown precision, and where a weight is too large for it.
    """
    if precision not in DTYPES:
        raise ExportError(f"precision is {precision!r}; expected one of {', '.join(DTYPES)}.")
    if precision == "fp32":
        return model
    reduced = copy.deepcopy(model)
    reduced.cast_weights(DTYPES[precision])
    for (name, before), after in zip(model.named_parameters(), reduced.parameters(), strict=True):
        if not torch.isfinite(after).all():
            raise ExportError(
                f"{name} has values up to {before.abs().max():.3g}, too large for {precision} (at most "
                f"{torch.finfo(DTYPES[precision]).max:.3g}); export with --precision bf16 or fp32."
            )
    return reduced


def compare_reduced(
    path: Path, model: VisionMamba, task: Task, pixels: np.ndarray, precision: str
) -> dict[str, dict[str, Any]]:
    """The figures of a file in reduced precision; `model` is in float32, `task` is what was exported.

    `widened`: the file with its types made float32, against eager float32 with the same rounded weights. They
    must agree as float32 files do, which proves graph and weights. Then the rounding, against `model` and to
    the precision's tolerance: `function_body` runs the float16 file itself; ONNX Runtime's processor kernels
    know no bfloat16, so that `eager` runs the exported PyTorch model there.
    Raises ExportError when one of them is too far off.
    """
    same_weights = _like(task, copy.deepcopy(task.model).float())
    wide = widened(onnx.load(str(path))).SerializeToString()
    found = difference(run_eager(same_weights, pixels), run_file(wide, pixels, ort_library()))
    refuse_if_apart(path, "widened", found, "fp32")
    figures = {"widened": found.to_dict()}

    expected = run_eager(_like(task, model), pixels)
    how = "function_body" if precision == "fp16" else "eager"
    actual = run_file(path, pixels, None) if precision == "fp16" else run_eager(task, pixels)
    found = difference(expected, actual)
    if not found.within(precision):
        finer = "fp16 or fp32" if precision == "bf16" else "fp32"
        raise ExportError(
            f"{precision} is too coarse for this model: the largest difference from float32 is "
            f"{found.max_abs:.3g} on values up to {found.max_reference:.3g} (relative {found.relative:.3g}; "
            f"expected at most {RELATIVE_TOLERANCE[precision]:g}). Export with --precision {finer}, or with "
            "--no-check and judge for yourself."
        )
    figures[how] = found.to_dict()
    return figures


def _like(task: Task, model: VisionMamba) -> Task:
    """The same task of another model."""
    return Task(model, "classify") if task.kind == "classify" else Task(model, "features", task.kind)
