"""Takes a trained Vision Mamba to production; see README.md. Importing this package imports no framework."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vim_deploy.engine import Engine, load_engine

__version__ = "0.1.0"
__all__ = ["Engine", "__version__", "load_engine"]

# In a checkout that is not installed, `export/` and `engines/` lie beside this folder;
# the wheel maps them inside.
if not (Path(__file__).parent / "engines").is_dir():
    __path__.append(str(Path(__file__).parent.parent))


def __getattr__(name: str) -> Any:
    if name in ("Engine", "load_engine"):
        from vim_deploy import engine

        return getattr(engine, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
