"""What a service returns for classification."""

from __future__ import annotations

import numpy as np

from vim_deploy.prediction import Prediction
from vim_deploy.tasks.base import Tensor
from vim_deploy.tasks.classify.result import Classification
from vim_deploy.tasks.served import TEXT, Served, ServedOutput


def outputs(output: Tensor, classes: int) -> tuple[ServedOutput, ...]:
    """The `top_k` most probable classes, best first."""
    return (
        ServedOutput("classes", TEXT, (None,)),
        ServedOutput("indices", "int64", (None,), labeled=True),
        ServedOutput("probabilities", "float64", (None,)),
    )


def arrays(prediction: Prediction) -> dict[str, np.ndarray]:
    result: Classification = prediction.result
    return {
        "classes": np.array([score.name for score in result.top], object),
        "indices": np.array([score.index for score in result.top], np.int64),
        "probabilities": np.array([score.probability for score in result.top], np.float64),
    }


SERVED = Served(outputs, arrays)
