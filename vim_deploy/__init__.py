"""Deploys trained Vision Mamba models; see README.md. Importing the package imports no framework."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vim_deploy import package
from vim_deploy.registry import lazy_attributes

if TYPE_CHECKING:
    from vim_deploy.engine import Engine, load_engine

__version__ = package.VERSION
__all__ = ["Engine", "__version__", "load_engine"]

# The wheel maps `export/` and `engines/` into the package; in a checkout they are beside it.
if not (Path(__file__).parent / "engines").is_dir():
    __path__.append(str(Path(__file__).parent.parent))

__getattr__ = lazy_attributes(__name__, {"Engine": "engine", "load_engine": "engine"})
