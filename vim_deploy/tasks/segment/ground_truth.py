"""True label maps: where they lie, what their values mean, and how far found ones agree with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vim_deploy.errors import ImageError

SUFFIXES = (".png", ".tif", ".tiff", ".bmp")  # formats that keep values as they are
_MODES = ("L", "P", "I;16", "I;16B", "I;16L", "I", "1")
_SHOWN = 5
_STRIP = 1 << 20


class Values(str, Enum):
    """What the values of true label maps mean."""

    PLAIN = "plain"  # class numbers from 0
    FROM_ONE = "from-one"  # class numbers from 1; 0 is not labelled. ADE20K has it so

    @property
    def offset(self) -> int:
        return 1 if self is Values.FROM_ONE else 0


@dataclass(frozen=True)
class Agreement:
    """Of one class, in labelled pixels: those that both maps have, the found one has, the true one has."""

    index: int
    both: int
    predicted: int
    true: int


@dataclass(frozen=True)
class Truth:
    """A folder of true label maps, named like the images (whatever the ending), in the same subfolders."""

    folder: Path
    values: Values
    ignored: int = 255  # not labelled either

    def of(self, name: Path, size: tuple[int, int], classes: int) -> NDArray[np.int16]:
        """Class numbers, -1 where nothing is labelled, for the image `name` of `size` (width, height).

        `name` is relative, below the folder. Raises ImageError for a map that is missing, of another size or
        kind, or has unknown values.
        """
        path = self._find(name)
        try:
            with Image.open(path, formats=("PNG", "TIFF", "BMP")) as image:
                if image.size != size:
                    raise ImageError(
                        f"the label map {path} has {image.width} x {image.height} pixels, the image "
                        f"{size[0]} x {size[1]}"
                    )
                if image.mode not in _MODES:
                    raise ImageError(
                        f"the label map {path} is of Pillow mode {image.mode!r}; expected one number per "
                        "pixel"
                    )
                given = np.asarray(image)
        except ImageError:
            raise
        except Exception as error:  # Pillow's readers answer damaged files with errors of many kinds
            raise ImageError(f"the label map {path} cannot be read ({error})") from None
        labels = np.empty(given.shape, np.int16)
        unknown: set[int] = set()
        for rows in strips(given):
            part = given[rows].astype(np.int32)
            found = part - self.values.offset
            found[part == self.ignored] = -1
            odd = (found >= classes) | ((found < 0) & ~self._unlabelled(part))
            unknown.update(np.unique(part[odd]).tolist())
            labels[rows] = found
        if unknown:
            shown = ", ".join(map(str, sorted(unknown)[:_SHOWN])) + (" ..." if len(unknown) > _SHOWN else "")
            least = self.values.offset
            raise ImageError(
                f"the label map {path} has the values {shown}; expected {least} to {least + classes - 1}, "
                f"{self._unlabelled_values()} for what is not labelled"
            )
        return labels

    def _find(self, name: Path) -> Path:
        stem = self.folder / name.parent / name.stem
        for suffix in SUFFIXES:
            path = stem.with_name(stem.name + suffix)
            if path.is_file():
                return path
        raise ImageError(f"there is no label map {stem}{SUFFIXES[0]}")

    def _unlabelled(self, given: np.ndarray) -> NDArray[np.bool_]:
        unlabelled: NDArray[np.bool_] = given == self.ignored
        return unlabelled | (given == 0) if self.values is Values.FROM_ONE else unlabelled

    def _unlabelled_values(self) -> str:
        return f"0 or {self.ignored}" if self.values is Values.FROM_ONE else str(self.ignored)


def strips(pixels: np.ndarray) -> Iterator[slice]:
    """Rows of about a million pixels: what is counted in them is small beside a label map."""
    step = max(1, _STRIP // max(1, pixels.shape[1]))
    return (slice(first, first + step) for first in range(0, len(pixels), step))


def counted(labels: np.ndarray, classes: int) -> NDArray[np.int64]:
    """Pixels of each class."""
    total = np.zeros(classes, np.int64)
    for rows in strips(labels):
        total += np.bincount(labels[rows].ravel(), minlength=classes)
    return total


def agreement(found: np.ndarray, true: NDArray[np.int16], classes: int) -> tuple[Agreement, ...]:
    """For every class that one of the maps has; pixels without a true label do not count."""
    both, predicted, actual = (np.zeros(classes, np.int64) for _ in range(3))
    for rows in strips(true):
        labelled = true[rows] >= 0
        ours, theirs = found[rows][labelled], true[rows][labelled]
        predicted += np.bincount(ours, minlength=classes)
        actual += np.bincount(theirs, minlength=classes)
        both += np.bincount(theirs[ours == theirs], minlength=classes)
    return tuple(
        Agreement(int(index), int(both[index]), int(predicted[index]), int(actual[index]))
        for index in np.flatnonzero(predicted + actual)
    )


@dataclass
class Scores:
    """Sums over images, (classes) each, and what follows. Source: mmsegmentation's `mIoU` metric."""

    both: NDArray[np.int64]
    predicted: NDArray[np.int64]
    true: NDArray[np.int64]

    @classmethod
    def empty(cls, classes: int) -> Scores:
        return cls(*(np.zeros(classes, np.int64) for _ in range(3)))

    def add(self, agreements: Iterable[Agreement]) -> None:
        for entry in agreements:
            self.both[entry.index] += entry.both
            self.predicted[entry.index] += entry.predicted
            self.true[entry.index] += entry.true

    @property
    def pixels(self) -> int:
        """Labelled ones."""
        return int(self.true.sum())

    @property
    def pixel_accuracy(self) -> float | None:
        return float(self.both.sum() / self.pixels) if self.pixels else None

    def iou(self) -> list[float | None]:
        """Of each class; None for a class that no map has."""
        return _ratios(self.both, self.predicted + self.true - self.both)

    def accuracy(self) -> list[float | None]:
        """Share of each class's true pixels that were found; None for a class without any."""
        return _ratios(self.both, self.true)

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
