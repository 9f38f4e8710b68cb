"""A classifier family as another package would add it: configuration, model, checkpoint reader and facts."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from vim_deploy.families.family import Family
from vim_deploy.model.kind import Kind
from vim_deploy.model.loading import model_with_weights, read_weights
from vim_deploy.ops import selective_scan


@dataclass(frozen=True)
class ToyConfig:
    image_size: tuple[int, int] = (8, 8)
    num_classes: int = 4
    width: int = 6

    def adjusted(self, **changes: Any) -> ToyConfig:
        known = {
            name: changes[name] for name in ("image_size", "num_classes") if changes.get(name) is not None
        }
        return dataclasses.replace(self, **known)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


class Toy(nn.Module):
    """One scan over the pixels, row by row."""

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.config = config
        self.channels, self.image_size, self.num_classes = 3, config.image_size, config.num_classes
        self.embed = nn.Linear(3, config.width)
        self.state = nn.Linear(config.width, 4)
        self.head = nn.Linear(config.width, config.num_classes)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(self.forward_features(pixels)))

    def forward_features(self, pixels: torch.Tensor) -> torch.Tensor:
        u = self.embed(pixels.flatten(2).transpose(1, 2))
        B, C = self.state(u).chunk(2, dim=-1)
        A, ones = -torch.ones(self.config.width, 2), torch.ones(self.config.width)
        return selective_scan(u, u, A, B, C, ones, u, 0 * ones, delta_softplus=True, reverse=False)

    def pool(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens.mean(dim=1)

    def cast_weights(self, dtype: torch.dtype) -> None:
        self.to(dtype)


def load_toy(source: str, *, checkpoint_key, config=None, **adjustments: Any):
    read = read_weights(source, checkpoint_key, Kind.CLASSIFIER)
    config = config or ToyConfig(**{**read.config, "image_size": tuple(read.config["image_size"])})
    loaded = read.loaded(config, read.state)
    return model_with_weights(Toy, loaded), loaded


FAMILY = Family(
    name="toy",
    kind="classifier",
    model="families.toy:Toy",
    load="families.toy:load_toy",
    parse_config=lambda values: ToyConfig(**values),
    presets={"toy_small": ToyConfig()},
    name_of=lambda config: "toy_small" if config.width == ToyConfig.width else "custom",
)
