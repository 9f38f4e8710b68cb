"""Ground-truth label maps: their files, the meaning of their values, and the comparison with predictions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vim_deploy.errors import ImageError
from vim_deploy.files import is_file
from vim_deploy.tasks.segment.options import DEFAULT_IGNORE, GroundTruthValues
from vim_deploy.tasks.segment.result import ClassOverlap
from vim_deploy.text import listed

SUFFIXES = (".png", ".tif", ".tiff", ".bmp")  # lossless formats
_MODES = ("L", "P", "I;16", "I;16B", "I;16L", "I", "1")
_STRIP_PIXELS = 1 << 20


@dataclass(frozen=True)
class GroundTruth:
    """A folder of label maps that have the images' names (with any suffix), in the same subfolders."""

    folder: Path
    values: GroundTruthValues
    ignore: int = DEFAULT_IGNORE  # value of unlabeled pixels

    def labels(self, name: Path, size: tuple[int, int], classes: int) -> NDArray[np.int16]:
        """Class indices, -1 for unlabeled pixels, of the image `name` of `size` (width, height).

        `name` is relative to the folder. Raises ImageError for a map that is missing, has another size or
        mode, or has unknown values.
        """
        path = self._find(name)
        pixels = _read(path, size)
        labels = np.empty(pixels.shape, np.int16)
        unknown: set[int] = set()
        for rows in strips(*pixels.shape):
            values = pixels[rows].astype(np.int32)
            indices = values - self.values.offset
            indices[values == self.ignore] = -1
            invalid = (indices >= classes) | ((indices < 0) & ~self._unlabeled(values))
            unknown.update(np.unique(values[invalid]).tolist())
            labels[rows] = indices
        if unknown:
            least = self.values.offset
            raise ImageError(
                f"the label map {path} has the values {listed(sorted(unknown))}; "
                f"expected {least} to {least + classes - 1}, and {self._unlabeled_values()} for unlabeled "
                "pixels"
            )
        return labels

    def _find(self, name: Path) -> Path:
        stem = self.folder / name.parent / name.stem
        for suffix in SUFFIXES:
            path = stem.with_name(stem.name + suffix)
            if is_file(path):
                return path
        raise ImageError(f"there is no label map {stem}{SUFFIXES[0]}")

    def _unlabeled(self, values: np.ndarray) -> NDArray[np.bool_]:
        unlabeled: NDArray[np.bool_] = values == self.ignore
        return unlabeled | (values == 0) if self.values.offset else unlabeled

    def _unlabeled_values(self) -> str:
        return f"0 or {self.ignore}" if self.values.offset else str(self.ignore)


def _read(path: Path, size: tuple[int, int]) -> np.ndarray:
    """The values of a label map of `size` (width, height). Raises ImageError."""
    try:
        with Image.open(path, formats=("PNG", "TIFF", "BMP")) as image:
            if image.size != size:
                raise ImageError(
                    f"the label map {path} has {image.width} x {image.height} pixels, the image "
                    f"{size[0]} x {size[1]}"
                )
            if image.mode not in _MODES:
                raise ImageError(
                    f"the label map {path} has the Pillow mode {image.mode!r}; expected one number per pixel"
                )
            return np.asarray(image)
    except ImageError:
        raise
    except Exception as error:  # Pillow raises many types of errors for damaged files
        raise ImageError(f"the label map {path} cannot be read ({error})") from None


def strips(height: int, width: int) -> Iterator[slice]:
    """Rows of about a million pixels each, so that temporary arrays are small compared to a label map."""
    step = max(1, _STRIP_PIXELS // max(1, width))
    return (slice(first, first + step) for first in range(0, height, step))


def class_pixels(labels: np.ndarray, classes: int) -> NDArray[np.int64]:
    """The number of pixels of each class."""
    total = np.zeros(classes, np.int64)
    for rows in strips(*labels.shape):
        total += np.bincount(labels[rows].ravel(), minlength=classes)
    return total


def class_overlaps(
    predicted: np.ndarray, ground_truth: NDArray[np.int16], classes: int
) -> tuple[ClassOverlap, ...]:
    """The overlap of every class that occurs in one of the maps; unlabeled pixels do not count."""
    both, in_prediction, in_ground_truth = (np.zeros(classes, np.int64) for _ in range(3))
    for rows in strips(*ground_truth.shape):
        labeled = ground_truth[rows] >= 0
        found, true = predicted[rows][labeled], ground_truth[rows][labeled]
        in_prediction += np.bincount(found, minlength=classes)
        in_ground_truth += np.bincount(true, minlength=classes)
        both += np.bincount(true[found == true], minlength=classes)
    return tuple(
        ClassOverlap(int(index), int(both[index]), int(in_prediction[index]), int(in_ground_truth[index]))
        for index in np.flatnonzero(in_prediction + in_ground_truth)
    )


@dataclass
class OverlapTotals:
    """Sums of overlaps over images, shape (classes,) each. Source: mmsegmentation's `mIoU` metric."""

    intersection: NDArray[np.int64]
    predicted: NDArray[np.int64]
    ground_truth: NDArray[np.int64]

    @classmethod
    def empty(cls, classes: int) -> OverlapTotals:
        return cls(*(np.zeros(classes, np.int64) for _ in range(3)))

    def add(self, overlaps: Iterable[ClassOverlap]) -> None:
        for overlap in overlaps:
            self.intersection[overlap.index] += overlap.intersection
            self.predicted[overlap.index] += overlap.predicted
            self.ground_truth[overlap.index] += overlap.ground_truth

    @property
    def pixels(self) -> int:
        """The number of labeled pixels."""
        return int(self.ground_truth.sum())

    @property
    def pixel_accuracy(self) -> float | None:
        return float(self.intersection.sum() / self.pixels) if self.pixels else None

    def iou(self) -> list[float | None]:
        """Of each class; None for a class that occurs in no map."""
        return _ratios(self.intersection, self.predicted + self.ground_truth - self.intersection)

    def accuracy(self) -> list[float | None]:
        """The recall of each class; None for a class without labeled pixels."""
        return _ratios(self.intersection, self.ground_truth)

    @property
    def miou(self) -> float | None:
        """Mean over the classes that occur."""
        return _mean(self.iou())

    @property
    def mean_accuracy(self) -> float | None:
        return _mean(self.accuracy())


def _ratios(part: NDArray[np.int64], whole: NDArray[np.int64]) -> list[float | None]:
    return [float(a / b) if b else None for a, b in zip(part, whole, strict=True)]


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
