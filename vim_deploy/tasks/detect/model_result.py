"""What `Model.predict` returns for detection."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vim_deploy.results.escape import escape
from vim_deploy.tasks.detect.paste import paste_mask
from vim_deploy.tasks.detect.result import Detection, Detections
from vim_deploy.tasks.model_result import Result
from vim_deploy.text import listed, plural

_OBJECTS_SHOWN = 5


class DetectResult(Result[Detections]):
    """The objects in an image, best first in every array."""

    @property
    def objects(self) -> tuple[Detection, ...]:
        """Each object: its class `index` and `name`, `score` and `box`."""
        return self.value.objects

    @property
    def boxes(self) -> NDArray[np.float64]:
        """(objects, 4): left, top, right and bottom in pixels of the image."""
        return np.array([found.box for found in self.objects], np.float64).reshape(-1, 4)

    @property
    def scores(self) -> NDArray[np.float64]:
        """(objects,), from 0 to 1."""
        return np.array([found.score for found in self.objects], np.float64)

    @property
    def classes(self) -> NDArray[np.int64]:
        """(objects,): class indices."""
        return np.array([found.index for found in self.objects], np.int64)

    @property
    def labels(self) -> tuple[str, ...]:
        """The class name of each object."""
        return tuple(found.name for found in self.objects)

    @property
    def masks(self) -> NDArray[np.bool_]:
        """Boolean (objects, height, width), of the image's size; computed on every access."""
        detections = self.value
        width, height = self.size or (0, 0)
        masks = [
            paste_mask(mask, np.array(found.box), height, width)
            for found, mask in zip(detections.objects, detections.masks, strict=True)
        ]
        return np.array(masks, bool).reshape(-1, height, width)

    def _summary(self) -> str:
        if not self.objects:
            return "no objects"
        found = [f"{escape(item.name)} {item.score:.2f}" for item in self.objects]
        return f"{plural(len(found), 'object')}: {listed(found, _OBJECTS_SHOWN)}"
