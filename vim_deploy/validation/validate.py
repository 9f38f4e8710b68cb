"""One run of vim-validate: the eager model against any number of artifacts, everything that was asked for."""

from __future__ import annotations

import platform
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch

import vim_deploy
from vim_deploy.engines.onnxruntime.backend import runtime
from vim_deploy.errors import EngineError
from vim_deploy.export.model import ExportModel, open_export_model
from vim_deploy.export.source import ModelSource
from vim_deploy.files import sha256_of_file
from vim_deploy.metadata import OUTPUTS, ModelMetadata
from vim_deploy.validation.accuracy import Accuracy, labelled_set, measure
from vim_deploy.validation.artifacts import Artifact, Way, open_artifact, source_of, ways
from vim_deploy.validation.compare import Report, compare_outputs, plain_json
from vim_deploy.validation.eager import EagerModel, features_kind
from vim_deploy.validation.inputs import Input, digest, hard_inputs, random_inputs, real_inputs, stacked
from vim_deploy.validation.invariance import Invariance, check_invariance
from vim_deploy.validation.labels import LabelSource
from vim_deploy.validation.layers import LayerReport, compare_layers
from vim_deploy.validation.parts import model_parts, run_parts
from vim_deploy.validation.probes import open_tapped

LAYER_IMAGES = 2
INVARIANCE_IMAGES = 4
Progress = Callable[[str], None]


@dataclass(frozen=True)
class ValidationRequest:
    """What to compare, on what; `labels` asks for accuracy on all of `images`."""

    source: ModelSource
    artifacts: tuple[Path, ...]
    images: tuple[str, ...] = ()
    max_images: int = 16
    random_images: int = 4
    hard: bool = True
    function_body: bool = True
    threads: int | None = None
    layers: bool = False
    invariance: bool = False
    labels: LabelSource | None = None


@dataclass(frozen=True)
class ArtifactResult:
    """One way of running one artifact against both references."""

    way: Way
    artifact_sha256: str
    precision: str
    variant: str
    float32: Report
    float64: Report
    notes: tuple[str, ...] = ()
    layers: LayerReport | None = None
    invariance: Invariance | None = None
    accuracy: Accuracy | None = None

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the artifact fails; empty when it does not."""
        reasons = [f"against eager float32: {reason}" for reason in self.float32.reasons]
        reasons += [f"against eager float64: {reason}" for reason in self.float64.reasons]
        if self.layers and (jump := self.layers.first_jump):
            reasons.append(f"the error jumps at {jump.name}: own {jump.own:.1e}, limit {jump.limit:.1e}")
        if self.invariance:
            reasons += self.invariance.reasons
        return tuple(reasons)

    @property
    def passed(self) -> bool:
        return not self.reasons

    def to_dict(self) -> dict[str, Any]:
        return {
            "label": self.way.label,
            "path": str(self.way.path),
            "how": self.way.how,
            "sha256": self.artifact_sha256,
            "precision": self.precision,
            "variant": self.variant,
            "passed": self.passed,
            "reasons": list(self.reasons),
            "notes": list(self.notes),
            "against_float32": self.float32.to_dict(),
            "against_float64": self.float64.to_dict(),
            "layers": self.layers and plain_json(self.layers.to_dict()),
            "invariance": self.invariance and self.invariance.to_dict(),
            "accuracy": self.accuracy and self.accuracy.to_dict(),
        }


@dataclass(frozen=True)
class Validation:
    """Everything a run found. `eager` is float32 against float64: what float32 itself costs."""

    origin: dict[str, Any]
    inputs: tuple[Input, ...]
    inputs_sha256: str
    eager: Report
    results: tuple[ArtifactResult, ...]
    notes: tuple[str, ...]
    versions: dict[str, str]
    created: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))

    @property
    def passed(self) -> bool:
        return all(result.passed for result in self.results)

    def to_dict(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "created": self.created,
            "versions": self.versions,
            "reference": {
                "checkpoint": self.origin,
                "operator": "reference",
                "types": ["float32", "float64"],
            },
            "inputs": {"count": len(self.inputs), "sha256": self.inputs_sha256},
            "eager_float32_against_float64": self.eager.to_dict(),
            "artifacts": [result.to_dict() for result in self.results],
            "notes": list(self.notes),
        }


def validate(request: ValidationRequest, progress: Progress = lambda stage: None) -> Validation:
    """Run everything; `progress` is called with each stage as it begins.

    Raises the errors of opening a checkpoint, an artifact or an image; an artifact that is merely wrong is a
    result that has not passed.
    """
    chosen = [way for path in request.artifacts for way in ways(path, request.function_body)]
    with open_artifact(chosen[0], request.threads) as first:
        metadata = first.metadata
        kind = features_kind(_one_run(first)) if metadata.task == "features" else "pooled"
    _check_task(request, metadata)
    progress("opening the eager model")
    source = open_export_model(_at_size(request.source, metadata), metadata.task, kind)
    inputs = _inputs(request, metadata)
    pixels = stacked(inputs)
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    eager = {}
    for wide in (False, True):
        model = EagerModel(source.task, wide)
        progress(f"{model.label} on {len(inputs)} inputs")
        eager[wide] = model(pixels)
    decisions = metadata.task == "classify"
    yardstick = compare_outputs(eager[True], eager[False].astype(np.float64), inputs, decisions=decisions)
    results = []
    for way in chosen:
        progress(f"{way.label} on {len(inputs)} inputs")
        results.append(_one(way, request, source, metadata, inputs, eager[False], eager[True], progress))
    if request.labels is not None:
        results = _with_accuracy(results, request, request.labels, source, metadata, progress)
    return Validation(
        source.origin, tuple(inputs), digest(inputs), yardstick, tuple(results), source.notes, _versions()
    )


def _one(
    way: Way, request: ValidationRequest, source: ExportModel, metadata: ModelMetadata, inputs: list[Input],
    expected32: np.ndarray, expected64: np.ndarray, progress: Progress,
) -> ArtifactResult:  # fmt: skip
    pixels = stacked(inputs)
    with open_artifact(way, request.threads) as artifact:
        if (artifact.metadata.task, artifact.metadata.preprocessing) != (
            metadata.task,
            metadata.preprocessing,
        ):
            raise EngineError(
                f"{way.path} is for another task or preprocessing than {request.artifacts[0]}; "
                "validate it in a run of its own."
            )
        found = artifact.run(pixels)
        if found.shape != expected32.shape:
            raise EngineError(
                f"{way.path} gives {found.shape}, the eager model {expected32.shape}; name the model that "
                "the artifact was exported from."
            )
        invariance = None
        if request.invariance:
            progress(f"{way.label}: batches, threads, repeats, instruction sets")
            invariance = check_invariance(artifact, pixels[:INVARIANCE_IMAGES])
        decisions, precision = metadata.task == "classify", artifact.precision
        result = ArtifactResult(
            way,
            sha256_of_file(way.path),
            precision,
            artifact.metadata.variant,
            compare_outputs(expected32, found, inputs, precision=precision, decisions=decisions),
            compare_outputs(expected64, found, inputs, precision=precision, decisions=decisions),
            _notes(artifact, source),
            invariance=invariance,
        )
    if request.layers:
        progress(f"{way.label}: layers")
        result = _with_layers(result, request, source, pixels[:LAYER_IMAGES])
    return result


def _with_accuracy(
    results: list[ArtifactResult], request: ValidationRequest, labels: LabelSource, source: ExportModel,
    metadata: ModelMetadata, progress: Progress,
) -> list[ArtifactResult]:  # fmt: skip
    labelled = labelled_set(request.images, labels, metadata, source.num_classes)
    progress(f"accuracy on {len(labelled)} images")
    with ExitStack() as stack:
        opened = [stack.enter_context(open_artifact(item.way, request.threads)) for item in results]
        found = measure(
            EagerModel(source.task),
            [artifact.run for artifact in opened],
            labelled,
            metadata.preprocessing,
        )
    return [replace(item, accuracy=accuracy) for item, accuracy in zip(results, found, strict=True)]


def _with_layers(
    result: ArtifactResult, request: ValidationRequest, source: ExportModel, pixels: np.ndarray
) -> ArtifactResult:
    parts = model_parts(source.task.model)
    reference = run_parts(parts, torch.from_numpy(pixels))
    path = source_of(result.way, list(request.artifacts))
    artifact, taps = open_tapped(result.way, path, request.threads)
    with artifact:
        return replace(result, layers=compare_layers(parts, reference, artifact, taps, pixels))


def _notes(artifact: Artifact, source: ExportModel) -> tuple[str, ...]:
    made_from = artifact.metadata.checkpoint
    keys = ("sha256", "entry", "seed")
    if [made_from.get(key) for key in keys] != [source.origin.get(key) for key in keys]:
        return (
            f"was exported from other weights ({made_from.get('source')}) than the model given "
            f"({source.origin.get('source')})",
        )
    return ()


def _one_run(artifact: Artifact) -> np.ndarray:
    preprocessing = artifact.metadata.preprocessing
    return artifact.run(np.zeros((1, preprocessing.channels, *preprocessing.image_size), np.float32))


def _at_size(source: ModelSource, metadata: ModelMetadata) -> ModelSource:
    """The model at the artifacts' image size, unless one was named."""
    if source.image_size is not None:
        return source
    return replace(source, image_size=metadata.preprocessing.image_size)


def _check_task(request: ValidationRequest, metadata: ModelMetadata) -> None:
    """Raises EngineError for what only some tasks have."""
    if len(OUTPUTS[metadata.task]) > 1:
        raise EngineError(
            f"{request.artifacts[0]} is for the task {metadata.task}, whose outputs are sets; vim-export and "
            "vim-build compare them, vim-validate does not."
        )
    if metadata.task in ("classify", "features"):
        return
    for asked, option in ((request.layers, "--layers"), (request.labels, "--labels")):
        if asked:
            raise EngineError(
                f"{option} is for classifiers; {request.artifacts[0]} is for the task {metadata.task}. Leave "
                "it out."
            )


def _inputs(request: ValidationRequest, metadata: ModelMetadata) -> list[Input]:
    preprocessing = metadata.preprocessing
    found = []
    if request.images:
        found += real_inputs(request.images, preprocessing, request.max_images)
    shape = (preprocessing.channels, *preprocessing.image_size)
    found += random_inputs(shape, request.random_images)
    if request.hard:
        found += hard_inputs(preprocessing)
    if not found:
        raise EngineError("nothing to compare on; give --images, --random or leave the hard inputs in.")
    return found


def _versions() -> dict[str, str]:
    return {
        "vim_deploy": vim_deploy.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnxruntime": str(runtime().__version__),
        "machine": platform.machine(),
    }
