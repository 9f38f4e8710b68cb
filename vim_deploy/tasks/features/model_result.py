"""What `Model.predict` returns for feature extraction."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vim_deploy.tasks.features.result import Features
from vim_deploy.tasks.model_result import Result
from vim_deploy.text import by


class FeaturesResult(Result[Features]):
    """The features of an image."""

    @property
    def features(self) -> NDArray[np.float32]:
        """Pooled (embed,), tokens (tokens, embed) or a map (embed, height, width), as exported."""
        return self.value.values

    def _summary(self) -> str:
        return f"features {by(self.features.shape)}"
