"""Compares models and locates the origin of differences.

`compare(reference, candidate, inputs)` needs only numpy and works with any model; the other modules compare
an eager model with exported files and engines (`vim-validate`).
"""

from __future__ import annotations

from vim_deploy.validation.compare import compare
from vim_deploy.validation.inputs import Input, hard_inputs, random_inputs, real_inputs

__all__ = ["Input", "compare", "hard_inputs", "random_inputs", "real_inputs"]
