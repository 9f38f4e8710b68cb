"""The selective scan. Its contract is plugins/selective_scan/README.md.

Importing this package imports no framework; `selective_scan` and `use_scan` load PyTorch on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vim_deploy.ops.library import ort_library
    from vim_deploy.ops.scan import selective_scan, use_scan
    from vim_deploy.ops.signature import CONTRACT_VERSION, OP_DOMAIN, OP_NAME

__all__ = ["CONTRACT_VERSION", "OP_DOMAIN", "OP_NAME", "ort_library", "selective_scan", "use_scan"]

_MODULES = {
    "CONTRACT_VERSION": "signature",
    "OP_DOMAIN": "signature",
    "OP_NAME": "signature",
    "ort_library": "library",
    "selective_scan": "scan",
    "use_scan": "scan",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
