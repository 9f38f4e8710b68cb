"""Proof that two models give the same results, and where a difference starts.

`compare(reference, candidate, inputs)` needs numpy alone and knows nothing of Vision Mamba; the other modules
compare an eager model with exported files and engines (`vim-validate`).
"""

from __future__ import annotations

from vim_deploy.validation.compare import Group, ImageFigures, Report, compare
from vim_deploy.validation.inputs import Input, hard_inputs, random_inputs, real_inputs

__all__ = [
    "Group",
    "ImageFigures",
    "Input",
    "Report",
    "compare",
    "hard_inputs",
    "random_inputs",
    "real_inputs",
]
