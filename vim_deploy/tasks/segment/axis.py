"""One axis of the mapping from windows' logits to the pixels of the original image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vim_deploy.data.bilinear import matrix
from vim_deploy.dense.windows import placements


@dataclass(frozen=True)
class Share:
    """The contribution of a window to a range of pixels: `weights` (pixels, n) of its cells from `first`."""

    window: int
    first: int
    weights: NDArray[np.float32]

    @property
    def cells(self) -> slice:
        return slice(self.first, self.first + self.weights.shape[1])

    @cached_property
    def _spans(self) -> list[tuple[int, int]]:
        """For each cell the range of pixels that it contributes to: first and end."""
        nonzero = self.weights != 0
        first, end = nonzero.argmax(axis=0), len(nonzero) - nonzero[::-1].argmax(axis=0)
        return list(zip(first.tolist(), end.tolist(), strict=True))

    def spread(self, cells: NDArray[np.float32]) -> NDArray[np.float32]:
        """`weights @ cells`: values of cells (n, m) to values of pixels (pixels, m).

        Most weights are zero, and numpy's matmul would start additional threads.
        """
        pixels = np.zeros((len(self.weights), cells.shape[1]), np.float32)
        for cell, (first, end) in enumerate(self._spans):
            pixels[first:end] += self.weights[first:end, cell, None] * cells[cell]
        return pixels


@dataclass(frozen=True)
class Axis:
    """`original` pixels of the image, resized to `scaled`, in windows of `crop` with `cells` logits each.

    The mapping has three linear steps: a window's logits are resized to the window, averaged over the windows
    that cover a pixel, and resized to the original image. `shares` combines them into one.
    """

    original: int
    scaled: int
    crop: int
    stride: int
    cells: int

    @cached_property
    def starts(self) -> list[int]:
        """First scaled pixel of each window; a window may extend beyond the end of a small image."""
        return placements(self.scaled, self.crop, self.stride)

    def shares(self, first: int, end: int) -> Iterator[Share]:
        """The shares of all windows that contribute to the original pixels `first` to `end`."""
        start, to_original = matrix(self.scaled, self.original, first, end)
        stop = start + to_original.shape[1]
        coverage = np.zeros(to_original.shape[1])
        for begin in self.starts:
            coverage[max(0, begin - start) : max(0, begin + self.crop - start)] += 1
        for window, begin in enumerate(self.starts):
            low, high = max(start, begin), min(stop, begin + self.crop)
            if low < high:
                cell, to_crop = matrix(self.cells, self.crop, low - begin, high - begin)
                inside = slice(low - start, high - start)
                weights = (to_original[:, inside] / coverage[inside]) @ to_crop
                yield Share(window, cell, weights.astype(np.float32))
