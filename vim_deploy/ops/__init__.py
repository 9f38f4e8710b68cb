"""The selective scan. Its contract is plugins/selective_scan/README.md.

Importing this package imports no framework; all names except `ort_library` load PyTorch on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vim_deploy.registry import lazy_attributes

if TYPE_CHECKING:
    from vim_deploy.ops.library import ort_library
    from vim_deploy.ops.mamba import selective_scan_fn
    from vim_deploy.ops.scan import selective_scan, use_scan

__all__ = ["ort_library", "selective_scan", "selective_scan_fn", "use_scan"]

_MODULES = {
    "ort_library": "library",
    "selective_scan": "scan",
    "selective_scan_fn": "mamba",
    "use_scan": "scan",
}
__getattr__ = lazy_attributes(__name__, _MODULES)
