"""What a service returns for features."""

from __future__ import annotations

import numpy as np

from vim_deploy.prediction import Prediction
from vim_deploy.tasks.base import Tensor
from vim_deploy.tasks.features.result import Features
from vim_deploy.tasks.served import Served, ServedOutput


def outputs(output: Tensor, classes: int) -> tuple[ServedOutput, ...]:
    return (ServedOutput("features", "float32", output.shape[1:]),)


def arrays(prediction: Prediction) -> dict[str, np.ndarray]:
    result: Features = prediction.result
    return {"features": result.values.astype(np.float32)}


SERVED = Served(outputs, arrays)
