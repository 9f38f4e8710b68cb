"""One side of an image on its way from windows' logits to the image's own pixels."""

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
    """What a window gives to a stretch of the image: `weights` (pixels, n) of its cells from `first` on."""

    window: int
    first: int
    weights: NDArray[np.float32]

    @property
    def cells(self) -> slice:
        return slice(self.first, self.first + self.weights.shape[1])

    @cached_property
    def _spans(self) -> list[tuple[int, int]]:
        """For each cell the pixels that it reaches: first and end."""
        reached = self.weights != 0
        first, end = reached.argmax(axis=0), len(reached) - reached[::-1].argmax(axis=0)
        return list(zip(first.tolist(), end.tolist(), strict=True))

    def spread(self, cells: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values of cells (n, numbers) to those of pixels (pixels, numbers): the weights' matrix product.

        Most weights are zero, and a matrix product of the runtime's would use threads of its own.
        """
        pixels = np.zeros((len(self.weights), cells.shape[1]), np.float32)
        for cell, (first, end) in enumerate(self._spans):
            pixels[first:end] += self.weights[first:end, cell, None] * cells[cell]
        return pixels


@dataclass(frozen=True)
class Axis:
    """`own` pixels of the image, `scaled` to so many, in windows of `crop`, whose logits have `cells`.

    Three linear steps lie between: a window's logits are brought to its size, averaged over the windows that
    cover a pixel, and brought to the image's own size. `shares` has them in one.
    """

    own: int
    scaled: int
    crop: int
    stride: int
    cells: int

    @cached_property
    def starts(self) -> list[int]:
        """First scaled pixels of the windows; a window may reach beyond the end of a small image."""
        return placements(self.scaled, self.crop, self.stride)

    def shares(self, first: int, end: int) -> Iterator[Share]:
        """Of the windows that the image's own pixels `first` to `end` depend on."""
        start, to_own = matrix(self.scaled, self.own, first, end)
        stop = start + to_own.shape[1]
        coverage = np.zeros(to_own.shape[1])
        for begin in self.starts:
            coverage[max(0, begin - start) : max(0, begin + self.crop - start)] += 1
        for window, begin in enumerate(self.starts):
            low, high = max(start, begin), min(stop, begin + self.crop)
            if low < high:
                cell, to_crop = matrix(self.cells, self.crop, low - begin, high - begin)
                inside = slice(low - start, high - start)
                weights = (to_own[:, inside] / coverage[inside]) @ to_crop
                yield Share(window, cell, weights.astype(np.float32))
