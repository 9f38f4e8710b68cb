"""mIoU or average precision of the eager model and of artifacts, with an interval of the difference."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vim_deploy.data.decode import Limits
from vim_deploy.data.discover import Discovery
from vim_deploy.data.loading import ThreadLoader
from vim_deploy.engines.tensors import BatchRange, TensorSpec
from vim_deploy.errors import EngineError, ImageError
from vim_deploy.export.eager import EagerModel
from vim_deploy.metadata import ModelMetadata
from vim_deploy.registry import load_object
from vim_deploy.results.row import Row
from vim_deploy.tasks.open import open_task
from vim_deploy.tasks.quality import Quality
from vim_deploy.tasks.registry import TASKS
from vim_deploy.validation.artifacts import Artifact

_PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True)
class QualityDifference:
    """`metric` of the reference and of the artifact on the same `images`, from 0 to 1.

    `interval`: the 95 % interval of artifact minus reference, by the percentiles of `resamples` bootstrap
    samples of the images, which are the same for both models.
    """

    metric: str
    images: int
    reference: float
    value: float
    interval: tuple[float, float]
    resamples: int

    def to_dict(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "interval": list(self.interval)}


class ArtifactNetwork:
    """An artifact as a task sees a network."""

    def __init__(self, artifact: Artifact) -> None:
        self._like, self.path = artifact, artifact.path

    @property
    def metadata(self) -> ModelMetadata:
        return self._like.metadata

    @property
    def class_names(self) -> tuple[str, ...]:
        return self._like.class_names

    @property
    def output(self) -> TensorSpec:
        return self._like.output_spec

    @property
    def batches(self) -> BatchRange:
        return self._like.batches

    def run(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        return self._like.run_all(pixels, len(pixels))


class EagerNetwork(ArtifactNetwork):
    """The eager model as a task sees a network; `like`: the artifact that has its form."""

    def __init__(self, eager: EagerModel, like: Artifact) -> None:
        super().__init__(like)
        self._eager, self.path = eager, eager.label

    def run(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        names = TASKS.get(self.metadata.task).outputs
        return dict(zip(names, self._eager.run(pixels), strict=True))


def quality_of(network: ArtifactNetwork, images: Sequence[str], ground_truth: Path) -> Quality:
    """Raises ImageError for an image that cannot be used."""
    spec = TASKS.get(network.metadata.task)
    if spec.quality is None or spec.ground_truth is None:
        raise EngineError(f"--ground-truth is not for the task {spec.name}; use --labels for classifiers.")
    task = open_task(network, {spec.ground_truth: ground_truth}, images)
    loader = ThreadLoader(task.preparation, Limits())
    rows: list[Row] = []
    for item in Discovery(images):
        for prediction in task.predict([loader.load(item)], 1):
            row = task.row(prediction)
            if row.status != "ok":
                raise ImageError(f"{row.path}: {row.reason}")
            rows.append(row)
    found: Quality = load_object(spec.quality)(rows, network.class_names, ground_truth)
    if not found.images:
        raise ImageError(f"none of the images has ground truth in {ground_truth}.")
    return found


def compare_quality(reference: Quality, candidate: Quality, seed: int = 0) -> QualityDifference:
    """Both on the same images, in the same order."""
    generator = np.random.default_rng(seed)
    everything = np.arange(reference.images)
    differences = [
        candidate.value(chosen) - reference.value(chosen)
        for chosen in (generator.choice(everything, len(everything)) for _ in range(reference.resamples))
    ]
    low, high = np.percentile(differences, _PERCENTILES)
    return QualityDifference(
        reference.metric,
        reference.images,
        reference.value(everything),
        candidate.value(everything),
        (float(low), float(high)),
        reference.resamples,
    )
