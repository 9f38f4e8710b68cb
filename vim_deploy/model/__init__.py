"""Vision Mamba in eager PyTorch, its configuration and its checkpoints.

Importing this package imports no framework; what needs PyTorch is loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from vim_deploy.model.config import PRESETS, ClassToken, Directions, Pooling, VimConfig, preset, variant_name

if TYPE_CHECKING:
    from vim_deploy.model.checkpoint import load_checkpoint, load_model, save_checkpoint
    from vim_deploy.model.synthetic import fill_synthetic
    from vim_deploy.model.vim import VisionMamba, create_model

__all__ = [
    "PRESETS",
    "ClassToken",
    "Directions",
    "Pooling",
    "VimConfig",
    "VisionMamba",
    "create_model",
    "fill_synthetic",
    "load_checkpoint",
    "load_model",
    "preset",
    "save_checkpoint",
    "variant_name",
]

_HOMES = {
    "VisionMamba": "vim",
    "create_model": "vim",
    "fill_synthetic": "synthetic",
    "load_checkpoint": "checkpoint",
    "load_model": "checkpoint",
    "save_checkpoint": "checkpoint",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
