"""Files in float16 and bfloat16: what is cast, and how such a file is compared with the eager model.

The mixers' weights and activations have the file's precision. Float32 stay the input and the output,
embeddings, residual stream, norms and head, and what the scan takes in float32 by its contract. TensorRT 11
takes an engine's precision from these types alone.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import onnx
import torch

from vim_deploy.errors import ExportError
from vim_deploy.export.task import TaskModule
from vim_deploy.export.verify import refuse_if_apart, run_eager, run_file
from vim_deploy.onnx_graph.upcast import upcast_to_fp32
from vim_deploy.ops import ort_library
from vim_deploy.precision import Precision

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class Castable(Protocol):
    """A model whose mixers can be told the type they compute in, see VisionMamba.cast_weights."""

    def cast_weights(self, dtype: torch.dtype) -> None: ...

    def named_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]: ...


Model = TypeVar("Model", bound=Castable)


def in_precision(model: Model, precision: str) -> Model:
    """The model itself for fp32, else a copy whose mixers compute in the precision.

    Raises ExportError for an unknown precision, and where a weight is too large for it.
    """
    if precision not in DTYPES:
        raise ExportError(f"precision is {precision!r}; expected one of {', '.join(DTYPES)}.")
    if precision == "fp32":
        return model
    reduced = copy.deepcopy(model)
    reduced.cast_weights(DTYPES[precision])
    pairs = zip(model.named_parameters(), reduced.named_parameters(), strict=True)
    for (name, before), (_, after) in pairs:
        if not torch.isfinite(after).all():
            raise ExportError(
                f"{name} has values up to {before.abs().max():.3g}, too large for {precision} (at most "
                f"{torch.finfo(DTYPES[precision]).max:.3g}); export with --precision bf16 or fp32."
            )
    return reduced


def compare_reduced(
    path: Path, wide: TaskModule, task: TaskModule, pixels: np.ndarray, precision: str
) -> dict[str, dict[str, Any]]:
    """The figures of a file in reduced precision; `wide` is in float32, `task` is what was exported.

    `upcast`: the file with its types made float32, against eager float32 with the same rounded weights. They
    must agree as float32 files do, which proves graph and weights. Then the rounding, against `wide` and to
    the precision's tolerance: `function_body` runs the float16 file itself; ONNX Runtime's processor kernels
    know no bfloat16, so that `eager` runs the exported PyTorch model there.
    Raises ExportError when one of them is too far off.
    """
    same_weights = task.of(copy.deepcopy(task.model).float())
    graph = upcast_to_fp32(onnx.load(str(path))).SerializeToString()
    expected = run_eager(same_weights, pixels)
    found = task.difference(expected, run_file(task, graph, pixels, ort_library()))
    refuse_if_apart(path, "upcast", found, "fp32")
    figures = {"upcast": found.to_dict()}

    expected = run_eager(wide, pixels)
    how = "function_body" if precision == "fp16" else "eager"
    actual = run_file(task, path, pixels, None) if precision == "fp16" else run_eager(task, pixels)
    found = task.difference(expected, actual)
    if not found.within(precision):
        finer = "fp16 or fp32" if precision == "bf16" else "fp32"
        raise ExportError(
            f"{precision} is too coarse for this model: the largest difference from float32 is "
            f"{found.max_abs:.3g} on values up to {found.max_reference:.3g} (relative {found.relative:.3g}; "
            f"expected at most {Precision(precision).tolerance:g}). Export with --precision {finer}, or with "
            "--no-check and judge for yourself."
        )
    figures[how] = found.to_dict()
    return figures
