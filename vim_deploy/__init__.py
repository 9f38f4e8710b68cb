"""Deploys trained Vision Mamba models; see README.md. Importing the package imports no framework."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vim_deploy import package

if TYPE_CHECKING:
    from vim_deploy.engine import Engine, load_engine

__version__ = package.VERSION
__all__ = ["Engine", "__version__", "load_engine"]

# The wheel maps `export/` and `engines/` into the package; in a checkout they are beside it.
if not (Path(__file__).parent / "engines").is_dir():
    __path__.append(str(Path(__file__).parent.parent))


def __getattr__(name: str) -> Any:
    if name in ("Engine", "load_engine"):
        from vim_deploy import engine

        return getattr(engine, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
