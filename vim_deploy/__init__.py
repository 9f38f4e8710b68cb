"""Takes a trained Vision Mamba to production; see README.md. Importing this package imports no framework."""

from pathlib import Path

__version__ = "0.1.0"

# In a checkout that is not installed, `export/` and `engines/` lie beside this folder;
# the wheel maps them inside.
if not (Path(__file__).parent / "engines").is_dir():
    __path__.append(str(Path(__file__).parent.parent))
