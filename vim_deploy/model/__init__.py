"""Vision Mamba in eager PyTorch, its configuration and its checkpoints.

Importing this package imports no framework; what needs PyTorch is loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vim_deploy.model.config import PRESETS, ClassToken, Directions, Pooling, VimConfig, preset, variant_name
from vim_deploy.registry import lazy_attributes

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

_MODULES = {
    "VisionMamba": "vim",
    "create_model": "vim",
    "fill_synthetic": "synthetic",
    "load_checkpoint": "checkpoint",
    "load_model": "checkpoint",
    "save_checkpoint": "checkpoint",
}
__getattr__ = lazy_attributes(__name__, _MODULES)
