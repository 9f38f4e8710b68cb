"""What `Model.predict` returns for segmentation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vim_deploy.results.escape import escape
from vim_deploy.tasks.model_result import Result
from vim_deploy.tasks.segment.result import ClassArea, Segmentation
from vim_deploy.text import listed

_CLASSES_SHOWN = 5


class SegmentResult(Result[Segmentation]):
    """The class of each pixel of an image."""

    @property
    def labels(self) -> NDArray[Any]:
        """The label map: class indices, uint8 (uint16 for more than 256 classes), (height, width)."""
        return self.value.labels

    @property
    def areas(self) -> tuple[ClassArea, ...]:
        """The classes in the label map with their numbers of pixels, largest first."""
        return self.value.areas

    def mask(self, index: int) -> NDArray[np.bool_]:
        """Which pixels belong to class `index`: boolean (height, width)."""
        mask: NDArray[np.bool_] = self.labels == index
        return mask

    def _summary(self) -> str:
        pixels = self.labels.size
        areas = [f"{escape(area.name)} {area.pixels / pixels:.1%}" for area in self.areas]
        return listed(areas, _CLASSES_SHOWN)
