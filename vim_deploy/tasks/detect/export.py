"""The exported network of a detector: boxes, scores, classes and masks of one image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from PIL import Image
from torch import Tensor

from vim_deploy.data.padded import Padded, padded_pixels
from vim_deploy.data.preprocess import Preprocessing
from vim_deploy.errors import ExportError
from vim_deploy.export.task import Network, TaskModule
from vim_deploy.parity.detections import detections_difference
from vim_deploy.parity.difference import Difference
from vim_deploy.tasks.detect.difference import used_rows
from vim_deploy.tasks.detect.onnx_operators import detection_operators
from vim_deploy.tasks.detect.options import DetectExportOptions
from vim_deploy.tasks.detect.spec import COUNT, EXCEEDED, SPEC


class DetectionNetwork(Network, Protocol):
    """A model with one padded image and a score threshold as inputs, and the task's four outputs."""

    score_threshold: float  # the default

    def bounded(self, pixels: Tensor, score_threshold: Tensor) -> tuple[Tensor, ...]:
        """The outputs with a fixed number of rows, see `Detector.bounded`."""


class DetectModule(TaskModule):
    """One padded image to `boxes` (n, 4), `scores` (n,), `classes` (n,) and `masks` (n, 28, 28).

    With the option `fixed_rows`, n is fixed, and there are the outputs `count` (1,) and `exceeded` (2,).
    """

    options: DetectExportOptions
    model: Any  # a DetectionNetwork, which also takes the threshold
    spec = SPEC
    # The number of objects differs between images, so their outputs cannot be stacked.
    fixed_batch = 1
    open_dimension = "objects"

    @property
    def outputs(self) -> tuple[str, ...]:
        return (*SPEC.outputs, COUNT, EXCEEDED) if self.options.fixed_rows else SPEC.outputs

    @property
    def settings(self) -> dict[str, float]:
        return {"score_threshold": self.model.score_threshold}

    def forward(  # type: ignore[override]  # exactly one setting
        self, pixels: Tensor, score_threshold: Tensor
    ) -> tuple[Tensor, ...]:
        detect = self.model.bounded if self.options.fixed_rows else self.model
        outputs: tuple[Tensor, ...] = detect(pixels, score_threshold)
        return outputs

    def translations(self) -> dict[Callable[..., Any], Callable[..., Any]]:
        return detection_operators()

    def check_preprocessing(self, preprocessing: Preprocessing) -> None:
        """The graph recognizes padding by its value zero, so pixels of the image must not be zero."""
        values = np.arange(256, dtype=np.uint8).repeat(self.channels).reshape(256, 1, self.channels)
        if (preprocessing.normalize(values) == 0).any(axis=(1, 2)).all():
            raise ExportError(
                f"the preprocessing's mean {preprocessing.mean} maps some pixel values to zero in every "
                "channel, which a detector cannot distinguish from padding; change one of its values by "
                "0.001."
            )

    def pixels(self, image: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
        return padded_pixels(Padded(self.image_size, self.channels).crop(image), preprocessing)

    def random_pixels(self, generator: np.random.Generator) -> np.ndarray:
        """One image, a quarter of it padding."""
        pixels = super().random_pixels(generator)
        pixels[:, :, self.image_size[0] * 3 // 4 :] = 0
        return pixels

    def join(self, parts: list[list[np.ndarray]]) -> list[np.ndarray]:
        """Concatenate images, with distinct class numbers per image so that objects are not mixed up."""
        width = self.model.num_classes
        numbered = [[b, s, c + index * width, *rest] for index, (b, s, c, *rest) in enumerate(parts)]
        return super().join(numbered)

    def difference(self, expected: list[np.ndarray], actual: list[np.ndarray]) -> Difference:
        images = 1 + int(expected[2].max(initial=0)) // self.model.num_classes
        reference, candidate = (
            used_rows(dict(zip(self.outputs, values, strict=True))) for values in (expected, actual)
        )
        return detections_difference(reference, candidate, images)
