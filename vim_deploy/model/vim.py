"""Vision Mamba in eager PyTorch, with the reference implementation's tensor names.

Source: arXiv 2401.09417 section 3.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from vim_deploy.errors import ConfigError
from vim_deploy.model.blocks import Block, PatchEmbedding
from vim_deploy.model.config import ClassToken, Pooling, VimConfig, preset
from vim_deploy.model.norms import cast, make_norm
from vim_deploy.model.rope import RotaryEmbedding

INIT_DEVIATION = 0.02  # of class token, position embedding and head at initialization
_SCAN_WEIGHTS = ("A_log", "A_b_log", ".D", ".D_b", "dt_proj.bias", "dt_proj_b.bias")


class VisionMamba(nn.Module):
    """Classifier; with num_classes=0, the output is the input of the head."""

    # Each (1, 1, embed); the configuration determines which of them exist.
    cls_token: nn.Parameter
    cls_token_head: nn.Parameter
    cls_token_tail: nn.Parameter

    def __init__(self, config: VimConfig) -> None:
        super().__init__()
        self.config = config
        self.channels, self.image_size = config.channels, config.image_size
        self.num_classes = config.num_classes
        # In the order of the reference's state dict.
        names = {ClassToken.NONE: [], ClassToken.DOUBLE: ["cls_token_head", "cls_token_tail"]}
        for name in names.get(config.class_token, ["cls_token"]):
            self.register_parameter(name, _embedding(1, config.embed_dim))
        if config.position_embedding:
            self.pos_embed = _embedding(config.num_tokens, config.embed_dim)
        self.patch_embed = PatchEmbedding(config)
        if config.rope:
            self.rope = RotaryEmbedding(config.embed_dim, config.grid[0])
        self.head = _head(config)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm_f = make_norm(config)

    def forward(self, pixels: Tensor) -> Tensor:
        """Preprocessed images (batch, channels, height, width) to logits (batch, classes).

        With Pooling.ALL the logits are (batch, length, classes). Raises ConfigError for another image size
        than the model's.
        """
        return self.classify(self.pool(self.forward_features(pixels)))

    def forward_tokens(self, pixels: Tensor) -> Tensor:
        """Images to the input of the first block (batch, length, embed), before rotary embedding."""
        self._check(pixels)
        tokens = self._insert_class_token(self.patch_embed(pixels))
        return tokens + self.pos_embed if self.config.position_embedding else tokens

    def forward_features(self, pixels: Tensor) -> Tensor:
        """Images to normalized tokens (batch, length, embed), in float32 or wider."""
        hidden, residual = deque(self.trace(pixels), maxlen=1).pop()
        normalized: Tensor = self.norm_f(residual + hidden)
        return normalized

    def trace(self, pixels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """The pair (hidden, residual), each (batch, length, embed), after every block.

        With paired directions: after every pair of blocks. The residual stream is residual + hidden.
        """
        hidden, residual = self.forward_tokens(pixels), None
        width = 2 if self.config.paired else 1
        for first in range(0, self.config.depth, width):
            if self.config.rope:
                hidden = self.rope(hidden)
                if residual is not None and self.config.rope_residual:
                    residual = self.rope(residual)
            hidden, residual = self._step(first, hidden, residual)
            yield hidden, residual

    def _step(self, first: int, hidden: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor]:
        ahead: tuple[Tensor, Tensor] = self.layers[first](hidden, residual)
        if not self.config.paired:
            return ahead
        back: tuple[Tensor, Tensor] = self.layers[first + 1](hidden, residual, reverse=True)
        return ahead[0] + back[0], ahead[1] + back[1]

    def pool(self, tokens: Tensor) -> Tensor:
        """Normalized tokens (batch, length, embed) to the input of the head.

        That is (batch, embed), or all tokens without class token and with Pooling.ALL or Pooling.MAX.
        """
        if self.config.class_index is not None:
            return tokens[:, self.config.class_index]
        if self.config.class_token is ClassToken.DOUBLE:
            return (tokens[:, 0] + tokens[:, -1]) / 2
        if self.config.pooling is Pooling.MEAN:
            return tokens.mean(dim=1)
        if self.config.pooling is Pooling.LAST:
            return tokens[:, -1]
        return tokens

    def feature_map(self, tokens: Tensor) -> Tensor:
        """Tokens (batch, length, embed) to a map of the patches (batch, embed, grid height, grid width).

        Class tokens are dropped.
        """
        if self.config.class_token is ClassToken.DOUBLE:
            tokens = tokens[:, 1:-1]
        elif (index := self.config.class_index) is not None:
            tokens = torch.cat([tokens[:, :index], tokens[:, index + 1 :]], dim=1) if index else tokens[:, 1:]
        return tokens.transpose(1, 2).unflatten(2, self.config.grid)

    def classify(self, features: Tensor) -> Tensor:
        """Pooled features to logits; Pooling.MAX takes each class's largest logit over the tokens."""
        if isinstance(self.head, nn.Linear):
            features = cast(features, self.head.weight.dtype)
        logits: Tensor = self.head(features)
        if self.config.class_token is ClassToken.NONE and self.config.pooling is Pooling.MAX:
            return logits.amax(dim=1)
        return logits

    def _insert_class_token(self, patches: Tensor) -> Tensor:
        batch = patches.shape[0]
        if self.config.class_token is ClassToken.DOUBLE:
            head, tail = (token.expand(batch, -1, -1) for token in (self.cls_token_head, self.cls_token_tail))
            return torch.cat([head, patches, tail], dim=1)
        index = self.config.class_index
        if index is None:
            return patches
        token = self.cls_token.expand(batch, -1, -1)
        if index == 0:
            return torch.cat([token, patches], dim=1)
        return torch.cat([patches[:, :index], token, patches[:, index:]], dim=1)

    def cast_weights(self, dtype: torch.dtype) -> None:
        """Convert the weights of the mixers to `dtype`, in place, so that they compute in it.

        Mixers take most of the time. Embeddings, residual stream, norms, head and the float32 inputs of the
        scan stay in float32, unlike with `half()`; docs/tensorrt.md has the measurements.
        """
        for name, parameter in self.layers.named_parameters():
            if ".mixer." in name and not name.endswith(_SCAN_WEIGHTS):
                parameter.data = parameter.data.to(dtype)

    def _check(self, pixels: Tensor) -> None:
        expected = (self.config.channels, *self.config.image_size)
        if pixels.dim() != 4 or tuple(pixels.shape[1:]) != expected:
            raise ConfigError(
                f"pixels of shape {tuple(pixels.shape)}; expected (batch, channels, height, width) with "
                f"{expected} after the batch. Resize the images, or build the model with this image_size."
            )


def create_model(name: str, **overrides: Any) -> VisionMamba:
    """An untrained model by its short or upstream name, with changed VimConfig fields.

    Raises ConfigError for an unknown name or field.
    """
    return VisionMamba(preset(name, **overrides))


def _embedding(rows: int, embed_dim: int) -> nn.Parameter:
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(1, rows, embed_dim), std=INIT_DEVIATION))


def _head(config: VimConfig) -> nn.Module:
    if config.num_classes == 0:
        return nn.Identity()
    head = nn.Linear(config.embed_dim, config.num_classes)
    nn.init.trunc_normal_(head.weight, std=INIT_DEVIATION)
    nn.init.zeros_(head.bias)
    return head
