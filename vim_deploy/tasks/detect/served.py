"""What a service returns for detection."""

from __future__ import annotations

import numpy as np

from vim_deploy.prediction import Prediction
from vim_deploy.tasks.base import Tensor
from vim_deploy.tasks.detect.result import Detections
from vim_deploy.tasks.served import TEXT, Served, ServedOutput


def outputs(output: Tensor, classes: int) -> tuple[ServedOutput, ...]:
    """The objects, best first. Boxes are left, top, right and bottom in pixels of the image.

    `masks`: probabilities over each object's box, (objects, rows, columns).
    """
    return (
        ServedOutput("boxes", "float64", (None, 4)),
        ServedOutput("scores", "float64", (None,)),
        ServedOutput("classes", TEXT, (None,)),
        ServedOutput("indices", "int64", (None,), labeled=True),
        ServedOutput("masks", "float32", (None, None, None)),
    )


def arrays(prediction: Prediction) -> dict[str, np.ndarray]:
    result: Detections = prediction.result
    return {
        "boxes": np.array([found.box for found in result.objects], np.float64).reshape(-1, 4),
        "scores": np.array([found.score for found in result.objects], np.float64),
        "classes": np.array([found.name for found in result.objects], object),
        "indices": np.array([found.index for found in result.objects], np.int64),
        "masks": result.masks.astype(np.float32),
    }


SERVED = Served(outputs, arrays)
