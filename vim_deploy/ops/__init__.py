"""The selective scan: contract in plugins/selective_scan/README.md.

Importing this package imports no framework; what needs PyTorch is loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vim_deploy.ops.library import CONTRACT_VERSION, OP_DOMAIN, OP_NAME, ort_library
    from vim_deploy.ops.scan import selective_scan, use_scan

__all__ = ["CONTRACT_VERSION", "OP_DOMAIN", "OP_NAME", "ort_library", "selective_scan", "use_scan"]

_HOMES = {
    "CONTRACT_VERSION": "library",
    "OP_DOMAIN": "library",
    "OP_NAME": "library",
    "ort_library": "library",
    "selective_scan": "scan",
    "use_scan": "scan",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
