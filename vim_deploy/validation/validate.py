"""One run of vim-validate: artifacts compared with the eager model."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch

from vim_deploy.engines.container import read_manifest
from vim_deploy.engines.open import is_engine
from vim_deploy.errors import EngineError
from vim_deploy.export.eager import EagerModel
from vim_deploy.export.model import ExportModel
from vim_deploy.families.parts import run_parts
from vim_deploy.files import sha256_of_file
from vim_deploy.metadata import ModelMetadata
from vim_deploy.registry import load_object
from vim_deploy.tasks.registry import TASKS
from vim_deploy.text import plural
from vim_deploy.validation.accuracy import measure
from vim_deploy.validation.arrays import validate_arrays
from vim_deploy.validation.artifacts import (
    Artifact,
    RunMode,
    Target,
    open_artifact,
    source_of,
    targets_of,
)
from vim_deploy.validation.inputs import digest
from vim_deploy.validation.invariance import check_invariance
from vim_deploy.validation.labels import LabelSource, labeled_images
from vim_deploy.validation.layers import compare_layers
from vim_deploy.validation.modules import compare_modules
from vim_deploy.validation.outputs import check_same_form, report_of, run_artifact
from vim_deploy.validation.probes import open_probed
from vim_deploy.validation.quality import ArtifactNetwork, EagerNetwork, compare_quality, quality_of
from vim_deploy.validation.reference import Progress, Reference, open_reference
from vim_deploy.validation.request import ValidationRequest
from vim_deploy.validation.results import TargetResult, Validation
from vim_deploy.validation.versions import versions

LAYER_IMAGES = 2
INVARIANCE_IMAGES = 4


def validate(request: ValidationRequest, progress: Progress = lambda stage: None) -> Validation:
    """Compare all artifacts; `progress` is called with the name of each stage when it starts.

    Raises the errors of opening a checkpoint, an artifact or an image. An artifact with wrong outputs is a
    result that did not pass.
    """
    targets = [target for path in request.artifacts for target in targets_of(path, request.function_body)]
    _check_engines(targets)
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    with open_artifact(targets[0], request.threads) as first:
        if _takes_arrays(first, request):
            return validate_arrays(request, first, targets[1:], progress)
        reference = open_reference(request, first, progress)
        compared = _compared(first, request, reference, progress)
    results = [_with_layers(compared, request, reference, progress)]
    results += [_result(target, request, reference, progress) for target in targets[1:]]
    eager = report_of(reference.float64, reference.float32, reference.inputs, reference.spec)
    if request.labels is not None:
        results = _with_accuracy(results, request, request.labels, reference, progress)
    if request.ground_truth is not None:
        results = _with_quality(results, request, request.ground_truth, reference, progress)
    return Validation(
        reference.model.origin,
        tuple(reference.inputs),
        digest(reference.inputs),
        eager,
        tuple(results),
        reference.model.notes,
        versions(),
    )


def _check_engines(targets: list[Target]) -> None:
    """Raises EngineError for a file that is none, before the others are compared."""
    for target in targets:
        if target.mode == RunMode.ENGINE and is_engine(str(target.path)):
            read_manifest(target.path)


def _takes_arrays(artifact: Artifact, request: ValidationRequest) -> bool:
    """Whether the artifact takes named arrays. Raises EngineError for arrays that it does not take."""
    arrays = TASKS.get(artifact.metadata.task).arrays
    if request.arrays and not arrays:
        raise EngineError(f"--arrays: {artifact.path} takes images, not named arrays; give --images.")
    return arrays


def _result(
    target: Target, request: ValidationRequest, reference: Reference, progress: Progress
) -> TargetResult:
    with open_artifact(target, request.threads) as artifact:
        compared = _compared(artifact, request, reference, progress)
    return _with_layers(compared, request, reference, progress)


def _compared(
    artifact: Artifact, request: ValidationRequest, reference: Reference, progress: Progress
) -> TargetResult:
    progress(f"{artifact.label} on {plural(len(reference.inputs), 'input')}")
    _check_same_task(artifact, reference.metadata, request.artifacts[0])
    outputs = run_artifact(artifact, reference.spec, reference.pixels)
    check_same_form(artifact, reference.float32, outputs)
    invariance = None
    if request.invariance:
        progress(f"{artifact.label}: batch sizes, threads, repeats, instruction sets")
        invariance = check_invariance(artifact, reference.pixels[:INVARIANCE_IMAGES])
    float32, float64 = (
        report_of(expected, outputs, reference.inputs, reference.spec, artifact.precision, request.tolerance)
        for expected in (reference.float32, reference.float64)
    )
    return TargetResult(
        artifact.target,
        sha256_of_file(artifact.target.path),
        artifact.precision,
        artifact.metadata.variant,
        reference.spec,
        float32,
        float64,
        _notes(artifact, reference.model),
        invariance=invariance,
    )


def _check_same_task(artifact: Artifact, metadata: ModelMetadata, first: Path) -> None:
    """Raises EngineError where the artifact cannot share the inputs of the first one."""
    own = artifact.metadata
    if (own.task, own.preprocessing) != (metadata.task, metadata.preprocessing):
        raise EngineError(
            f"{artifact.target.path} has another task or preprocessing than {first}; validate it in a "
            "separate run."
        )


def _with_accuracy(
    results: list[TargetResult],
    request: ValidationRequest,
    labels: LabelSource,
    reference: Reference,
    progress: Progress,
) -> list[TargetResult]:
    names = reference.metadata.class_names or tuple(map(str, range(reference.model.num_classes)))
    labeled = labeled_images(request.images, labels, names)
    progress(f"accuracy on {plural(len(labeled), 'image')}")
    eager = EagerModel(reference.model.task)
    with ExitStack() as stack:
        opened = [stack.enter_context(open_artifact(item.target, request.threads)) for item in results]
        found = measure(
            lambda pixels: eager.run(pixels)[0],
            [artifact.run for artifact in opened],
            labeled,
            reference.metadata.preprocessing,
        )
    return [replace(item, accuracy=accuracy) for item, accuracy in zip(results, found, strict=True)]


def _with_quality(
    results: list[TargetResult],
    request: ValidationRequest,
    ground_truth: Path,
    reference: Reference,
    progress: Progress,
) -> list[TargetResult]:
    task = reference.model.task
    eager = EagerModel(task, settings=task.settings)
    found, expected = [], None
    for result in results:
        with open_artifact(result.target, request.threads) as artifact:
            if expected is None:
                progress(f"{eager.label} on the images with ground truth")
                expected = quality_of(EagerNetwork(eager, artifact), request.images, ground_truth)
            progress(f"{artifact.label} on the images with ground truth")
            actual = quality_of(ArtifactNetwork(artifact), request.images, ground_truth)
        found.append(replace(result, quality=compare_quality(expected, actual)))
    return found


def _with_layers(
    result: TargetResult, request: ValidationRequest, reference: Reference, progress: Progress
) -> TargetResult:
    """The result with the comparison of layers, if it is requested."""
    if not request.layers:
        return result
    progress(f"{result.target.label}: layers")
    parts = reference.parts
    pixels = reference.pixels[: LAYER_IMAGES if reference.spec.batchable else 1]
    path = source_of(result.target, list(request.artifacts))
    probes_of = reference.model.family.probes
    if not probes_of:
        task = reference.model.task
        return replace(result, layers=compare_modules(task, result.target, path, pixels, request.threads))
    expected = run_parts(parts, torch.from_numpy(pixels))
    artifact, probes = open_probed(result.target, path, load_object(probes_of), request.threads)
    with artifact:
        return replace(result, layers=compare_layers(parts, expected, artifact, probes, pixels))


def _notes(artifact: Artifact, source: ExportModel) -> tuple[str, ...]:
    exported = artifact.metadata.checkpoint
    keys = ("sha256", "key", "seed")
    if [exported.get(key) for key in keys] != [source.origin.get(key) for key in keys]:
        return (
            f"was exported from other weights ({exported.get('source')}) than those of the given model "
            f"({source.origin.get('source')})",
        )
    return ()
