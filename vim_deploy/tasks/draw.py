"""Draws a prediction of any task on its image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image

from vim_deploy.errors import EngineError
from vim_deploy.prediction import Prediction
from vim_deploy.registry import load_object
from vim_deploy.tasks.spec import TaskSpec


def draw(
    spec: TaskSpec,
    image: Image.Image,
    prediction: Prediction,
    class_names: Sequence[str],
    **options: Any,
) -> Image.Image:
    """A new picture: `image` with `prediction`, which has the status "ok", drawn on it.

    `image` is the predicted image, upright (after EXIF rotation), at any scale. `options` depend on the task,
    see `draw` in visualization.py of the task's folder. Raises EngineError for a task that has no pictures.
    """
    if spec.draw is None:
        raise EngineError(f"predictions of the task {spec.name} cannot be drawn.")
    picture: Image.Image = load_object(spec.draw)(image, prediction, class_names, **options)
    return picture
