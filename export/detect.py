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
from vim_deploy.errors import ConfigError, ExportError
from vim_deploy.export.detection_operators import detection_operators
from vim_deploy.export.source import (
    FROM_CHECKPOINT,
    ModelSource,
    generated_origin,
    read_config_file,
    undescribed,
)
from vim_deploy.export.subject import Subject
from vim_deploy.export.task import Task
from vim_deploy.model.generated import fill_generated
from vim_deploy.parity import Difference
from vim_deploy.parity_sets import detections_difference


class DetectTask(Task):
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

    def of(self, model: nn.Module) -> DetectTask:
        assert isinstance(model, Detector)
        return DetectTask(model)

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


def open_detector(source: ModelSource) -> Subject:
    """Raises CheckpointError, ConfigError or ExportError."""
    model, origin, notes = _opened(source) if source.checkpoint else _generated(source)
    config = model.config
    names = None
    if config.num_classes == len(COCO_NAMES):
        names = COCO_NAMES
        notes = (*notes, "80 classes without names: taken for those of COCO; --class-names says otherwise.")
    plain = config.backbone.vim.channels == 3
    return Subject(
        task=DetectTask(model),
        variant=detector_name(config),
        config=config.to_dict(),
        num_classes=config.num_classes,
        origin=origin,
        notes=notes,
        preprocessing=Preprocessing(image_size=config.image_size, crop_ratio=1.0) if plain else None,
        class_names=names,
    )


def _opened(source: ModelSource) -> tuple[Detector, dict[str, Any], tuple[str, ...]]:
    assert source.checkpoint is not None
    from_file = _config_file(source.name)
    model, loaded = load_detector(
        source.checkpoint,
        entry=source.entry,
        config=from_file,
        image_size=source.image_size,
        num_classes=source.num_classes,
        halve=source.halve,
        position_rule=source.position_rule,
    )
    if from_file is None and source.name != FROM_CHECKPOINT:
        found = detector_name(loaded.config.with_vim(halve=True))
        if detector_preset(source.name) is not DETECTORS.get(found):
            raise ExportError(
                f"{loaded.source} is not a {source.name}: its tensors say {found}. Name the right model, or "
                f"{FROM_CHECKPOINT!r} to take what it is."
            )
    origin = {"source": loaded.source, "sha256": loaded.sha256, "entry": loaded.entry, "seed": None}
    return model, origin, loaded.notes


def _generated(source: ModelSource) -> tuple[Detector, dict[str, Any], tuple[str, ...]]:
    config = _config_file(source.name) or detector_preset(source.name)
    if source.image_size is not None:
        config = config.with_vim(image_size=source.image_size)
    if source.num_classes is not None:
        config = config.replace(num_classes=source.num_classes)
    if source.halve is not None:
        config = config.with_vim(halve=source.halve)
    model = Detector(config)
    fill_generated(model, seed=source.seed)
    origin, note = generated_origin(source.seed)
    return model.eval(), origin, (note,)


def _config_file(name: str) -> DetectorConfig | None:
    values = read_config_file(name)
    if values is None:
        return None
    try:
        return DetectorConfig.from_dict(values)
    except (ConfigError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise undescribed(name, "detector", error) from None
