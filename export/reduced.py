"""Files in fp16 and bf16: conversion of the model, and comparison of the file with the eager model.

The mixers' weights and activations have the file's precision. Inputs, outputs, embeddings, residual stream,
norms and head stay in float32, as do the scan inputs that its contract has in float32. TensorRT 11 takes an
engine's precision from these types only.
"""

from __future__ import annotations

import copy
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx
import torch

from vim_deploy.errors import ExportError
from vim_deploy.export.eager import EagerModel
from vim_deploy.export.task import Network, TaskModule
from vim_deploy.export.verify import check_difference, run_file
from vim_deploy.onnx_graph.upcast import upcast_to_fp32
from vim_deploy.ops import ort_library
from vim_deploy.precision import FILE_PRECISIONS, Precision

Model = TypeVar("Model", bound=Network)


def in_precision(model: Model, precision: str) -> Model:
    """The model itself for fp32, int8 and fp8, else a copy whose mixers compute in the precision.

    Raises ExportError for a precision that files cannot have, and if a weight is out of its range.
    """
    if precision not in FILE_PRECISIONS:
        raise ExportError(f"precision is {precision!r}; expected one of {', '.join(FILE_PRECISIONS)}.")
    activations = Precision(precision).activations
    if activations == Precision.FP32:  # quantized files: the graph is quantized, not the model
        return model
    dtype: torch.dtype = getattr(torch, activations.dtype)
    reduced = copy.deepcopy(model)
    reduced.cast_weights(dtype)
    for (name, before), (_, after) in zip(model.named_parameters(), reduced.named_parameters(), strict=True):
        if not torch.isfinite(after).all():
            raise ExportError(
                f"{name} has values up to {before.abs().max():.3g}, out of range for {precision} (at most "
                f"{torch.finfo(dtype).max:.3g}); export with --precision bf16 or fp32."
            )
    return reduced


def compare_reduced(
    path: Path, float32: TaskModule, task: TaskModule, pixels: np.ndarray, precision: Precision
) -> dict[str, dict[str, Any]]:
    """Compare a file in reduced precision with the eager model; `task` is what was exported.

    First `upcast`: the file with all types converted to float32, and the eager model with the same rounded
    weights in float32. They must agree like float32 files, which verifies the graph and its weights. Second
    the rounding, compared with `float32`, the task before its conversion, to the precision's tolerance: in
    `function_body` ONNX Runtime runs the fp16 file; it has no bfloat16 kernels for the CPU, so in `eager`
    PyTorch runs the bf16 model. Raises ExportError if one of them is beyond its tolerance.
    """
    same_weights = task.of(copy.deepcopy(task.model).float())
    graph = upcast_to_fp32(onnx.load(str(path))).SerializeToString()
    found = task.difference(
        EagerModel(same_weights).run(pixels), run_file(task, graph, pixels, ort_library())
    )
    check_difference(path, "upcast", found)
    figures = {"upcast": asdict(found)}

    if precision is Precision.FP16:
        how, actual = "function_body", run_file(task, path, pixels, None)
    else:
        how, actual = "eager", EagerModel(task).run(pixels)
    found = task.difference(EagerModel(float32).run(pixels), actual)
    if not found.within(precision):
        finer = "fp16 or fp32" if precision is Precision.BF16 else "fp32"
        raise ExportError(
            f"{precision} is too coarse for this model: the largest difference from float32 is "
            f"{found.max_abs:.3g} on values up to {found.max_reference:.3g} (relative {found.relative:.3g}; "
            f"expected at most {precision.tolerance:g}). Export with --precision {finer}, or with --no-check "
            "to accept it."
        )
    figures[how] = asdict(found)
    return figures
