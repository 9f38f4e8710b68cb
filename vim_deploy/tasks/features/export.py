"""The exported network of a feature extractor."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from torch import Tensor

from vim_deploy.errors import ExportError
from vim_deploy.export.task import Network, TaskModule
from vim_deploy.tasks.features.options import FEATURE_KINDS, FeatureExportOptions
from vim_deploy.tasks.features.spec import SPEC


class FeatureNetwork(Network, Protocol):
    """A model whose features can be read."""

    def forward_features(self, pixels: Tensor) -> Tensor:
        """Pixels to normalized tokens (batch, tokens, embed)."""

    def pool(self, tokens: Tensor) -> Tensor:
        """Tokens to the input of the head (batch, embed)."""

    def feature_map(self, tokens: Tensor) -> Tensor:
        """Tokens to (batch, embed, grid height, grid width), patches only."""


class FeaturesModule(TaskModule):
    """`features`: pooled (batch, embed), tokens (batch, tokens, embed), or a map of the patches
    (batch, embed, grid height, grid width)."""

    spec = SPEC
    options: FeatureExportOptions

    @classmethod
    def options_of(cls, output: np.ndarray) -> dict[str, Any]:
        kinds = dict(enumerate(FEATURE_KINDS, 2))  # by the number of axes
        if output.ndim not in kinds:
            raise ExportError(
                f"features of shape {output.shape}; expected 2, 3 or 4 axes. Export them again."
            )
        return {"features": kinds[output.ndim]}

    def forward(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.model.forward_features(pixels)
        if self.options.features == "map":
            features = self.model.feature_map(features)
        elif self.options.features == "pooled":
            features = self.model.pool(features)
        return features
