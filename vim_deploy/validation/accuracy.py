"""Accuracy of the eager model and of artifacts on labelled images, and the difference with its interval."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vim_deploy.data.decode import decode
from vim_deploy.data.preprocess import Preprocessing
from vim_deploy.errors import EngineError
from vim_deploy.metadata import ModelMetadata
from vim_deploy.validation.compare import TOP, Run
from vim_deploy.validation.labels import LabelSource, labelled_images
from vim_deploy.validation.statistics import mcnemar, newcombe_paired_interval

_BATCH = 8


@dataclass(frozen=True)
class Accuracy:
    """Shares of right answers, the reference's and the artifact's, on the same `images`.

    `interval` is the 95 % confidence interval of artifact minus reference in top-1 (Newcombe's method 10 for
    pairs); `p_value` is McNemar's exact test. `only_reference` and `only_artifact` count the images that
    one alone got right.
    """

    images: int
    reference_top1: float
    reference_top5: float
    top1: float
    top5: float
    only_reference: int
    only_artifact: int
    interval: tuple[float, float]
    p_value: float

    @property
    def shares(self) -> tuple[float, float, float, float]:
        """Top-1 of reference and artifact, top-5 of both."""
        return self.reference_top1, self.top1, self.reference_top5, self.top5

    def to_dict(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "interval": list(self.interval)}


def measure(
    reference: Run,
    candidates: Sequence[Run],
    labelled: Sequence[tuple[str, int]],
    preprocessing: Preprocessing,
) -> list[Accuracy]:
    """One Accuracy per candidate; every image is decoded once. Raises ImageError for an unreadable one."""
    models = [reference, *candidates]
    ranks: list[list[np.ndarray]] = [[] for _ in models]
    for pixels, labels in _batches(labelled, preprocessing):
        for found, model in zip(ranks, models, strict=True):
            found.append(ranks_of(model(pixels), labels))
    places = [np.concatenate(found) for found in ranks]
    return [paired(places[0], other) for other in places[1:]]


def ranks_of(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many classes come before the true one; 0 is right."""
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    # Not a number is never right.
    ranks: np.ndarray = logits.shape[1] - (logits <= own).sum(axis=1)
    return ranks


def paired(reference: np.ndarray, artifact: np.ndarray) -> Accuracy:
    """From both models' ranks of the true class."""
    first, second = reference < 1, artifact < 1
    counts = [
        int((first & second).sum()),
        int((first & ~second).sum()),
        int((~first & second).sum()),
        int((~first & ~second).sum()),
    ]
    return Accuracy(
        images=len(first),
        reference_top1=float(first.mean()),
        reference_top5=float((reference < TOP).mean()),
        top1=float(second.mean()),
        top5=float((artifact < TOP).mean()),
        only_reference=counts[1],
        only_artifact=counts[2],
        interval=newcombe_paired_interval(*counts),
        p_value=mcnemar(counts[1], counts[2]),
    )


def labelled_set(
    images: Sequence[str], source: LabelSource, metadata: ModelMetadata, classes: int
) -> list[tuple[str, int]]:
    """Labelled images for a classifier. Raises EngineError for other models, ImageError for unfit labels."""
    if metadata.task != "classify":
        raise EngineError("--labels needs a model that classifies; this one gives features.")
    names = metadata.class_names or tuple(str(index) for index in range(classes))
    return labelled_images(images, source, names)


def _batches(
    labelled: Sequence[tuple[str, int]], preprocessing: Preprocessing
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, len(labelled), _BATCH):
        part = labelled[start : start + _BATCH]
        pixels = np.stack([preprocessing(decode(path).image) for path, _ in part])
        yield pixels, np.array([label for _, label in part])
