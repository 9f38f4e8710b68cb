"""The package itself: its version and where it is installed."""

from __future__ import annotations

import sys
from pathlib import Path

VERSION = "0.1.0"


def folders() -> list[Path]:
    """The folders that the package is imported from; an editable installation has several."""
    return [Path(folder) for folder in sys.modules["vim_deploy"].__path__]
