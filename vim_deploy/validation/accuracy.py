"""Accuracy of the eager model and of artifacts on labeled images, with a confidence interval."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vim_deploy.data.loading import decode_path
from vim_deploy.data.preprocess import Preprocessing
from vim_deploy.validation.compare import TOP, Model
from vim_deploy.validation.statistics import mcnemar, newcombe_paired_interval

_BATCH = 8


@dataclass(frozen=True)
class Accuracy:
    """Accuracies of the reference and the artifact on the same `images`, as fractions.

    `interval` is the 95 % confidence interval of artifact minus reference in top-1 (Newcombe's method 10 for
    paired proportions); `p_value` is McNemar's exact test. `only_reference` and `only_artifact`
    count the images that only this one classifies correctly.
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
    def accuracies(self) -> tuple[float, float, float, float]:
        """Top-1 of reference and artifact, top-5 of both."""
        return self.reference_top1, self.top1, self.reference_top5, self.top5

    def to_dict(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "interval": list(self.interval)}


def measure(
    reference: Model,
    candidates: Sequence[Model],
    labeled: Sequence[tuple[str, int]],
    preprocessing: Preprocessing,
) -> list[Accuracy]:
    """One Accuracy per candidate; every image is decoded once. Raises ImageError for an unreadable one."""
    models = [reference, *candidates]
    ranks: list[list[np.ndarray]] = [[] for _ in models]
    for pixels, labels in _batches(labeled, preprocessing):
        for found, model in zip(ranks, models, strict=True):
            found.append(ranks_of(model(pixels), labels))
    places = [np.concatenate(found) for found in ranks]
    return [paired(places[0], other) for other in places[1:]]


def ranks_of(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The number of classes ranked above the true one, per image; 0 is a correct prediction."""
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    # NaN counts as ranked above: it is never correct.
    ranks: np.ndarray = logits.shape[1] - (logits <= own).sum(axis=1)
    return ranks


def paired(reference: np.ndarray, artifact: np.ndarray) -> Accuracy:
    """From the rank of the true class in both models."""
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


def _batches(
    labeled: Sequence[tuple[str, int]], preprocessing: Preprocessing
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, len(labeled), _BATCH):
        part = labeled[start : start + _BATCH]
        pixels = np.stack([preprocessing(decode_path(path).image) for path, _ in part])
        yield pixels, np.array([label for _, label in part])
