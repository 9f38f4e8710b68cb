"""Runs models on the inputs of a validation, and compares their outputs as the task needs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from vim_deploy.errors import EngineError
from vim_deploy.tasks.spec import TaskSpec
from vim_deploy.validation.artifacts import Artifact
from vim_deploy.validation.compare import Outputs, Report, Tolerance, compare_each, compare_outputs
from vim_deploy.validation.inputs import Input

if TYPE_CHECKING:  # child processes that run artifacts do not load PyTorch
    from vim_deploy.export.eager import EagerModel

# The primary output for all images; for tasks that are not batchable, all outputs of each image.
Found: TypeAlias = "np.ndarray | Sequence[Outputs]"


def run_eager(eager: EagerModel, spec: TaskSpec, pixels: np.ndarray) -> Found:
    if spec.batchable:
        return eager.run(pixels)[0]
    return [dict(zip(spec.outputs, eager.run(image[None]), strict=True)) for image in pixels]


def run_artifact(artifact: Artifact, spec: TaskSpec, pixels: np.ndarray, size: int | None = None) -> Found:
    """`size`: of the batches, see Artifact.run."""
    return artifact.run(pixels, size) if spec.batchable else artifact.run_each(pixels)


def check_same_form(artifact: Artifact, expected: Found, found: Found) -> None:
    """Raises EngineError for outputs of another shape than those of the eager model."""
    if isinstance(expected, np.ndarray) and isinstance(found, np.ndarray) and expected.shape != found.shape:
        raise EngineError(
            f"{artifact.target.path} has outputs of shape {found.shape}, the eager model {expected.shape}; "
            "give the model that the artifact was exported from."
        )


def report_of(
    expected: Found,
    found: Found,
    inputs: Sequence[Input],
    spec: TaskSpec,
    precision: str = "fp32",
    tolerance: Tolerance | None = None,
) -> Report:
    """Classes are compared too if the outputs are their scores."""
    if isinstance(expected, np.ndarray) and isinstance(found, np.ndarray):
        return compare_outputs(
            expected, found, inputs, precision=precision, decisions=spec.labeled, tolerance=tolerance
        )
    return compare_each(list(expected), list(found), inputs, spec.compare, precision, tolerance)


def are_equal(one: Found, other: Found) -> bool:
    """Whether two outputs are bit-identical."""
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    pairs = zip(one, other, strict=True)
    return all(np.array_equal(first[name], second[name]) for first, second in pairs for name in first)
