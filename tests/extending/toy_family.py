"""A model family from outside the package: a classifier with one selective scan over its patches."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from vim_deploy.errors import ExportError
from vim_deploy.families.family import Family
from vim_deploy.files import sha256_of_file
from vim_deploy.model.checkpoint_read import CONFIG_KEY
from vim_deploy.model.loading import LoadedCheckpoint
from vim_deploy.ops import selective_scan


@dataclass(frozen=True)
class ToyConfig:
    width: int = 16
    state: int = 4
    patch: int = 8
    image_size: tuple[int, int] = (32, 32)
    num_classes: int = 3

    def adjusted(
        self, *, image_size: tuple[int, int] | None = None, num_classes: int | None = None, **others: Any
    ) -> ToyConfig:
        size, classes = image_size or self.image_size, num_classes or self.num_classes
        return dataclasses.replace(self, image_size=size, num_classes=classes)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ToyConfig:
        return cls(**{**values, "image_size": tuple(values["image_size"])})


class ToyMamba(nn.Module):
    channels = 3

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.config, self.image_size, self.num_classes = config, config.image_size, config.num_classes
        width, state = config.width, config.state
        self.patches = nn.Conv2d(self.channels, width, config.patch, config.patch)
        self.project = nn.Linear(width, 3 * width + 2 * state)
        self.A_log = nn.Parameter(torch.zeros(width, state))
        self.D = nn.Parameter(torch.ones(width))
        self.delta_bias = nn.Parameter(torch.zeros(width))
        self.head = nn.Linear(width, config.num_classes)

    def forward(self, pixels: Tensor) -> Tensor:
        """(batch, 3, height, width) to logits (batch, num_classes)."""
        logits: Tensor = self.head(self.pool(self.forward_features(pixels)))
        return logits

    def forward_features(self, pixels: Tensor) -> Tensor:
        """(batch, 3, height, width) to tokens (batch, patches, width)."""
        width, state = self.config.width, self.config.state
        tokens = self.patches(pixels).flatten(2).transpose(1, 2)
        u, delta, z, B, C = self.project(tokens).split([width, width, width, state, state], dim=-1)
        A = -torch.exp(self.A_log)
        inputs = (u, delta, A, B, C, self.D, z, self.delta_bias)
        return selective_scan(*inputs, delta_softplus=True, reverse=False)

    def pool(self, tokens: Tensor) -> Tensor:
        return tokens.mean(1)

    def cast_weights(self, dtype: torch.dtype) -> None:
        raise ExportError("this family is exported in fp32 only; leave out --precision.")


def load(checkpoint: str, *, config: ToyConfig | None = None, **adjustments: Any) -> tuple[ToyMamba, Any]:
    """Read a safetensors file written by `save_checkpoint`."""
    with safe_open(checkpoint, "pt") as file:
        found = config or ToyConfig.from_dict(json.loads(file.metadata()[CONFIG_KEY]))
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    model = ToyMamba(found)
    model.load_state_dict(state)
    source = Path(checkpoint).name
    return model.eval(), LoadedCheckpoint(found, state, source, sha256_of_file(checkpoint), None, ())


TINY = ToyConfig()
FAMILY = Family(
    name="toy_mamba",
    kind="classifier",
    model=f"{__name__}:ToyMamba",
    load=f"{__name__}:load",
    parse_config=ToyConfig.from_dict,
    presets={"toy_tiny": TINY},
    name_of=lambda config: "toy_tiny" if config.adjusted(image_size=TINY.image_size) == TINY else "custom",
)
