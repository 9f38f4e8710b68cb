"""Artifacts that take named arrays (task raw), compared with the eager network on whole outputs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from vim_deploy.arrays import ArrayInput, example_inputs
from vim_deploy.data.discover import Discovery
from vim_deploy.errors import EngineError, InputError
from vim_deploy.export.eager import EagerModel
from vim_deploy.export.model import open_export_model
from vim_deploy.export.task import TaskModule
from vim_deploy.families.factory_network import build_network
from vim_deploy.files import sha256_of_file
from vim_deploy.options import flag_of
from vim_deploy.registry import load_object
from vim_deploy.tasks.raw.files import is_array_file, read_arrays
from vim_deploy.tasks.registry import TASKS
from vim_deploy.text import plural
from vim_deploy.validation.artifacts import Artifact, Target, open_artifact
from vim_deploy.validation.compare import Outputs, Report, compare_each
from vim_deploy.validation.inputs import RANDOM, REAL, Input
from vim_deploy.validation.request import ValidationRequest
from vim_deploy.validation.results import TargetResult, Validation
from vim_deploy.validation.versions import versions

_FOR_IMAGES = ("images", "labels", "ground_truth", "layers", "invariance")
_SEED = 0


@dataclass(frozen=True)
class _Given:
    """Inputs by name; `kind` groups them in reports."""

    name: str
    kind: str
    arrays: Mapping[str, np.ndarray]


def validate_arrays(
    request: ValidationRequest,
    first: Artifact,
    others: Sequence[Target],
    progress: Callable[[str], None],
) -> Validation:
    """`vim_deploy.validation.validate.validate` for artifacts with named arrays."""
    if flags := [flag_of(name) for name in _FOR_IMAGES if getattr(request, name)]:
        raise EngineError(
            f"{', '.join(flags)}: only for models that take images, and {request.artifacts[0]} takes named "
            "arrays (task raw). Leave it out."
        )
    items = example_inputs(first.metadata.config, str(request.artifacts[0]))
    inputs = _inputs(request, first, items)
    names = first.output_names
    progress("opening the eager model")
    task, origin, notes = _network(request, items, names)
    eager = []
    for float64 in (False, True):
        model = EagerModel(task, float64=float64)
        progress(f"{model.label} on {plural(len(inputs), 'input')}")
        eager.append([dict(zip(names, model.run(given.arrays), strict=True)) for given in inputs])
    float32, float64_outputs = eager
    shown = tuple(Input(given.name, given.kind, np.empty(0, np.float32)) for given in inputs)

    def compared(artifact: Artifact) -> TargetResult:
        progress(f"{artifact.label} on {plural(len(inputs), 'input')}")
        return _result(artifact, request, shown, inputs, float32, float64_outputs)

    results = [compared(first)]
    for target in others:
        with open_artifact(target, request.threads) as artifact:
            results.append(compared(artifact))
    return Validation(
        origin,
        shown,
        _digest(inputs),
        _report(float64_outputs, float32, shown),
        tuple(results),
        tuple(notes),
        versions(),
    )


def _network(
    request: ValidationRequest, items: Sequence[ArrayInput], outputs: Sequence[str]
) -> tuple[TaskModule, dict[str, Any], Sequence[str]]:
    """The eager network as a module of the task raw, the origin of its weights, and notes."""
    if request.source.factory is None:
        opened = open_export_model(request.source, "raw")
        return opened.task, opened.origin, opened.notes
    network, origin, notes = build_network(request.source)
    generator = np.random.default_rng(_SEED)
    examples = {item.name: torch.from_numpy(np.asarray(item.random(generator))) for item in items}
    kind: Callable[..., TaskModule] = load_object(TASKS.get("raw").module)
    return kind(network.eval(), examples=examples, output_names=outputs), origin, notes


def _inputs(request: ValidationRequest, artifact: Artifact, items: Sequence[ArrayInput]) -> list[_Given]:
    """The arrays in files, then random arrays: along dynamic axes, each set is one longer than the last."""
    found = []
    for item in Discovery(request.arrays, accepts=is_array_file) if request.arrays else ():
        try:
            found.append(_Given(item.path, REAL, read_arrays(item.path, artifact.inputs)))
        except InputError as error:
            raise InputError(f"{item.path}: {error}.") from None
    generator = np.random.default_rng(_SEED)
    shapes = {spec.name: spec.shape for spec in artifact.inputs}
    for number in range(request.random_images):
        arrays = {
            item.name: np.asarray(item.random(generator, _longer(item.shape, shapes[item.name], number)))
            for item in items
        }
        found.append(_Given(f"random {number}", RANDOM, arrays))
    if not found:
        raise EngineError("there are no inputs to compare on; give --arrays or --random.")
    return found


def _longer(example: Sequence[int], shape: Sequence[int | None], by: int) -> tuple[int, ...]:
    return tuple(size + by if fixed is None else size for size, fixed in zip(example, shape, strict=True))


def _result(
    artifact: Artifact,
    request: ValidationRequest,
    shown: Sequence[Input],
    inputs: Sequence[_Given],
    float32: Sequence[Outputs],
    float64: Sequence[Outputs],
) -> TargetResult:
    found = [artifact.run_arrays(given.arrays) for given in inputs]
    _check_same_form(artifact, float32[0], found[0])
    against32, against64 = (
        _report(expected, found, shown, str(artifact.precision), request) for expected in (float32, float64)
    )
    return TargetResult(
        artifact.target,
        sha256_of_file(artifact.target.path),
        artifact.precision,
        artifact.metadata.variant,
        TASKS.get("raw"),
        against32,
        against64,
    )


def _report(
    expected: Sequence[Outputs],
    found: Sequence[Outputs],
    shown: Sequence[Input],
    precision: str = "fp32",
    request: ValidationRequest | None = None,
) -> Report:
    tolerance = None if request is None else request.tolerance
    return compare_each(expected, found, shown, TASKS.get("raw").compare, precision, tolerance)


def _check_same_form(artifact: Artifact, expected: Outputs, found: Outputs) -> None:
    shapes, others = ({name: array.shape for name, array in item.items()} for item in (expected, found))
    if shapes != others:
        raise EngineError(
            f"{artifact.path} has outputs of shapes {others}, the eager model {shapes}; give the model that "
            "the artifact was exported from."
        )


def _digest(inputs: Iterable[_Given]) -> str:
    """SHA-256 of names and values: two runs with the same digest used the same inputs."""
    total = hashlib.sha256()
    for given in inputs:
        for name, array in given.arrays.items():
            total.update(f"{given.kind}/{given.name}/{name}/{array.dtype}/{array.shape}".encode())
            total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()
