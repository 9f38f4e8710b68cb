"""What is exported of a detector: boxes, scores, classes and masks of one image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor, nn

from vim_deploy.data.padded import Padded, padded_pixels
from vim_deploy.data.preprocess import Preprocessing
from vim_deploy.dense.coco import COCO_NAMES
from vim_deploy.dense.detector import Detector
from vim_deploy.dense.detector_checkpoint import load_detector
from vim_deploy.dense.detector_config import DETECTORS, DetectorConfig, detector_name, detector_preset
from vim_deploy.errors import ExportError
from vim_deploy.export.dense import Family, export_model_of, open_dense
from vim_deploy.export.model import ExportModel
from vim_deploy.export.source import ModelSource
from vim_deploy.export.task import TaskModule
from vim_deploy.parity.detections import detections_difference
from vim_deploy.parity.difference import Difference
from vim_deploy.tasks.detect.onnx_operators import detection_operators


class DetectTaskModule(TaskModule):
    """One padded image to boxes (n, 4), scores (n,), classes (n,) and masks (n, 28, 28); see Detector."""

    # Every image has another number of objects, so that two of them make no array.
    fixed_batch = 1
    open_dimension = "objects"

    def __init__(self, model: Detector) -> None:
        super().__init__(model, "detect", model.config.backbone.vim.channels, model.config.image_size)

    @property
    def settings(self) -> dict[str, float]:
        return {"score_threshold": self.model.config.score_threshold}

    def forward(self, pixels: Tensor, score_threshold: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        outputs: tuple[Tensor, Tensor, Tensor, Tensor] = self.model(pixels, score_threshold)
        return outputs

    def of(self, model: nn.Module) -> DetectTaskModule:
        assert isinstance(model, Detector)
        return DetectTaskModule(model)

    def translations(self) -> dict[Callable[..., Any], Callable[..., Any]]:
        return detection_operators()

    def check_preprocessing(self, preprocessing: Preprocessing) -> None:
        """The graph tells the padding, which is zero, from the image, which must not be."""
        values = np.arange(256, dtype=np.uint8).repeat(self.channels).reshape(256, 1, self.channels)
        if (preprocessing.normalise(values) == 0).any(axis=(1, 2)).all():
            raise ExportError(
                f"the preprocessing's mean {preprocessing.mean} makes zeros of pixels in every channel, "
                "which a detector could not tell from the padding; move one of its numbers by a thousandth."
            )

    def pixels(self, image: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
        return padded_pixels(Padded(self.image_size, self.channels).crop(image), preprocessing)

    def random_pixels(self, generator: np.random.Generator) -> np.ndarray:
        """One image, a quarter of it padding."""
        pixels = super().random_pixels(generator)
        pixels[:, :, self.image_size[0] * 3 // 4 :] = 0
        return pixels

    def join(self, parts: list[list[np.ndarray]]) -> list[np.ndarray]:
        """One image after the other; classes are numbered on, so that no two images share one."""
        width = self.model.config.num_classes
        numbered = [[b, s, c + index * width, m] for index, (b, s, c, m) in enumerate(parts)]
        return super().join(numbered)

    def difference(self, expected: list[np.ndarray], actual: list[np.ndarray]) -> Difference:
        images = 1 + int(expected[2].max(initial=0)) // self.model.config.num_classes
        return detections_difference(tuple(expected), tuple(actual), images)


def open_detector(source: ModelSource) -> ExportModel:
    """Raises CheckpointError, ConfigError or ExportError."""
    opened = open_dense(source, _FAMILY)
    config = opened.config
    return export_model_of(
        opened, _FAMILY, DetectTaskModule(opened.model), detector_name(config), config.to_dict()
    )


_FAMILY = Family(
    kind="detector",
    build=Detector,
    load=load_detector,
    from_dict=DetectorConfig.from_dict,
    preset=detector_preset,
    presets=DETECTORS,
    name_of=lambda config: detector_name(config.with_vim(halve=True)),
    known_names=COCO_NAMES,
    data_set="COCO",
)
