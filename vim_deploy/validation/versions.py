"""The versions that a validation records."""

from __future__ import annotations

import platform

import torch

from vim_deploy.engines.onnxruntime.session import runtime
from vim_deploy.package import VERSION


def versions() -> dict[str, str]:
    return {
        "vim_deploy": VERSION,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnxruntime": str(runtime().__version__),
        "machine": platform.machine(),
    }
