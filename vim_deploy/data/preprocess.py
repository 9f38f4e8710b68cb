"""From a decoded image to the pixels the network was trained on, without PyTorch."""
# Placeholder skeleton; being written.

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes an input: shorter side to `resize_to`, centre crop, scale, normalise."""

    image_size: tuple[int, int] = (224, 224)  # height, width of the network's input
    crop_ratio: float = 0.875
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    channels: int = 3

    def to_dict(self) -> dict[str, Any]:
        return {
            "image_size": list(self.image_size),
            "crop_ratio": self.crop_ratio,
            "mean": list(self.mean),
            "std": list(self.std),
            "channels": self.channels,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Preprocessing:
        return cls(
            image_size=tuple(values["image_size"]),
            crop_ratio=values["crop_ratio"],
            mean=tuple(values["mean"]),
            std=tuple(values["std"]),
            channels=values["channels"],
        )
