"""What `Model.predict` returns for classification."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vim_deploy.results.escape import escape
from vim_deploy.tasks.classify.result import Classification, Score
from vim_deploy.tasks.model_result import Result


class ClassifyResult(Result[Classification]):
    """The classes of an image."""

    @property
    def top(self) -> tuple[Score, ...]:
        """The most probable classes, best first: as many as `top_k`."""
        return self.value.top

    @property
    def top1(self) -> Score:
        """The most probable class: its `index`, `name` and `probability`."""
        return self.value.top[0]

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """The probability of each class, (classes,)."""
        probabilities = self.value.probabilities
        assert probabilities is not None
        return probabilities

    def _summary(self) -> str:
        return ", ".join(f"{escape(score.name)} {score.probability:.3f}" for score in self.top)
