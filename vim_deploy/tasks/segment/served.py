"""What a service returns for segmentation."""

from __future__ import annotations

import numpy as np

from vim_deploy.prediction import Prediction
from vim_deploy.tasks.base import Tensor
from vim_deploy.tasks.segment.mapper import label_type
from vim_deploy.tasks.segment.result import Segmentation
from vim_deploy.tasks.served import Served, ServedOutput


def outputs(output: Tensor, classes: int) -> tuple[ServedOutput, ...]:
    """The label map (height, width), of the image's size."""
    return (ServedOutput("labels", label_type(classes).name, (None, None), labeled=True),)


def arrays(prediction: Prediction) -> dict[str, np.ndarray]:
    result: Segmentation = prediction.result
    return {"labels": result.labels}


SERVED = Served(outputs, arrays)
