"""The parts that segmenters and detectors share: the backbone with its feature maps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from vim_deploy.dense.backbone import DenseBackbone
from vim_deploy.families.parts import Part
from vim_deploy.families.vim_parts import blocks_of

# See Part.limit; docs/parity.md has the measurements.
LIMITS = {"map": 8.0, "neck": 64.0, "head": 64.0, "set": 512.0}


def dense_part(name: str, kind: str, inputs: tuple[str, ...], compute: Callable[..., Tensor]) -> Part:
    return Part(name, kind, None, inputs, LIMITS[kind], compute)


def backbone_parts(model: DenseBackbone) -> tuple[list[Part], list[str]]:
    """The parts up to the last map, and the names of the maps, "map 1" for the first out index and so on.

    `model` computes in float64.
    """
    indices = model.backbone_config.out_indices
    parts, after = blocks_of(model)
    last_block = (indices[-1] + 1) * model.config.depth // len(after) - 1
    parts = [part for part in parts if part.block is None or part.block <= last_block]
    names = []
    for number, index in enumerate(indices, 1):
        residual, hidden = after[index]
        names.append(f"map {number}")
        parts.append(dense_part(names[-1], "map", (hidden, residual), partial(_map, model, index)))
    return parts, names


def _map(model: DenseBackbone, index: int, hidden: Tensor, residual: Tensor) -> Tensor:
    return model.map_after(index, hidden, residual, torch.float64)
