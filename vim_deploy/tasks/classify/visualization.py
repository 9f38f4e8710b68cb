"""Pictures of classified images."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from vim_deploy.prediction import Prediction
from vim_deploy.tasks.legend import with_legend


def draw(
    image: Image.Image, prediction: Prediction, class_names: Sequence[str], *, legend: bool = True
) -> Image.Image:
    """`image` with the most probable classes below it; without `legend`, only the image."""
    if not legend:
        return image.convert("RGB")
    entries = [(f"{score.name}: {score.probability:.1%}", None) for score in prediction.result.top]
    return with_legend(image.convert("RGB"), entries)
