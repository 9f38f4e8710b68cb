"""The package itself: its version and where it is installed."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

VERSION = "0.1.0"
CUDA_PACKAGE = "vim_deploy_cuda"  # the GPU libraries; built by tools/wheels


def folders() -> list[Path]:
    """The folders that the package is imported from; an editable installation has several."""
    return [Path(folder) for folder in sys.modules["vim_deploy"].__path__]


def cuda_folders() -> list[Path]:
    """The folder of the package with the GPU libraries, if it is installed."""
    spec = find_spec(CUDA_PACKAGE)
    return [Path(folder) for folder in (spec and spec.submodule_search_locations) or ()]
