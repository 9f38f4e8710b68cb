"""What a file can compute: the module that the exporter traces, for each task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor, nn

from vim_deploy.data.preprocess import Preprocessing
from vim_deploy.errors import ExportError
from vim_deploy.metadata import OUTPUTS
from vim_deploy.model.vim import VisionMamba
from vim_deploy.parity.difference import Difference, difference

RANDOM_IMAGES = 2
FEATURE_KINDS = ("pooled", "tokens", "map")


class TaskModule(nn.Module, ABC):
    """One thing that a file computes, of the model in `model`.

    Input: pixels (batch, channels, height, width) of one size. `outputs` names what `forward` gives: one
    tensor, or as many in a tuple. With `fixed_batch` the graph serves that many images alone.
    """

    model: Any
    fixed_batch: int | None = None
    open_dimension = "batch"  # what the outputs' open size is called

    def __init__(self, model: nn.Module, task: str, channels: int, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.model, self.task = model, task
        self.channels, self.image_size = channels, image_size

    @property
    def outputs(self) -> tuple[str, ...]:
        return OUTPUTS[self.task]

    @abstractmethod
    def of(self, model: nn.Module) -> TaskModule:
        """The same task of another model of the same structure."""

    @property
    def settings(self) -> dict[str, float]:
        """Scalar inputs after the pixels, which have these values unless a run gives others."""
        return {}

    def translations(self) -> dict[Callable[..., Any], Callable[..., Any]]:
        """How the exporter writes operators of its own that the task uses, beside the scan."""
        return {}

    def check_preprocessing(self, preprocessing: Preprocessing) -> None:
        """Raises ExportError for a preprocessing that the model cannot be used with."""

    def pixels(self, image: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
        """What the model takes of an image: float32 (channels, height, width)."""
        return preprocessing(image)

    def random_pixels(self, generator: np.random.Generator) -> np.ndarray:
        """Noise to compare on, two images unless the batch is fixed: float32, normal."""
        shape = (self.fixed_batch or RANDOM_IMAGES, self.channels, *self.image_size)
        return generator.standard_normal(shape, dtype=np.float32)

    def join(self, parts: list[list[np.ndarray]]) -> list[np.ndarray]:
        """The outputs of several batches as those of one."""
        return [np.concatenate(pieces) for pieces in zip(*parts, strict=True)]

    def difference(self, expected: list[np.ndarray], actual: list[np.ndarray]) -> Difference:
        """How far the outputs of one way of running are from another's, in the order of `outputs`."""
        return difference(expected[0], actual[0])


class VimTaskModule(TaskModule):
    """`classify`, or `features` of a kind.

    `classify` gives what the model gives. `features` gives (batch, embed) pooled, (batch, tokens, embed), or
    as a map (batch, embed, grid height, grid width) of the patches alone.
    """

    def __init__(self, model: VisionMamba, task: str, features: str = "pooled") -> None:
        if task not in ("classify", "features"):
            raise ExportError(f"task is {task!r}; expected classify or features for a classifier's model.")
        if features not in FEATURE_KINDS:
            raise ExportError(f"features is {features!r}; expected one of {', '.join(FEATURE_KINDS)}.")
        super().__init__(model, task, model.config.channels, model.config.image_size)
        self.features = features

    def forward(self, pixels: Tensor) -> Tensor:
        if self.task == "classify":
            logits: Tensor = self.model(pixels)
            return logits
        features: Tensor = self.model.forward_features(pixels)
        if self.features == "map":
            features = self.model.feature_map(features)
        elif self.features == "pooled":
            features = self.model.pool(features)
        return features

    def of(self, model: nn.Module) -> VimTaskModule:
        assert isinstance(model, VisionMamba)
        return VimTaskModule(model, self.task, self.features)
