"""Deploys trained Vision Mamba models; see README.md. Importing the package imports no framework."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from vim_deploy import package
from vim_deploy.registry import lazy_attributes

if TYPE_CHECKING:
    from vim_deploy.engine import Engine, load_engine

__version__ = package.VERSION
__all__ = ["Engine", "__version__", "load_engine"]

# Without it, ONNX Runtime sends usage data to Microsoft, and stores graph names, messages and paths in the
# user's cache. It is read when onnxruntime is imported; child processes inherit it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# The wheel maps `export/` and `engines/` into the package; in a checkout they are beside it.
if not (Path(__file__).parent / "engines").is_dir():
    __path__.append(str(Path(__file__).parent.parent))

__getattr__ = lazy_attributes(__name__, {"Engine": "engine", "load_engine": "engine"})
