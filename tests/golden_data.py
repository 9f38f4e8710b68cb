"""Reference numbers: the full set beside the repository when it is there, a small selection otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

_HERE = Path(__file__).resolve().parent
_FULL = _HERE.parents[1] / "shared" / "golden"
_SELECTION = _HERE / "golden"


def golden_dir() -> Path:
    """The folder of reference numbers in use."""
    return _FULL if _FULL.is_dir() else _SELECTION


def load_json(name: str) -> Any:
    """Description of the cases, `name` without its ending."""
    return json.loads((golden_dir() / f"{name}.json").read_text())


def load_tensors(name: str) -> dict[str, NDArray[Any]]:
    """All tensors of a file, `name` without its ending."""
    tensors: dict[str, NDArray[np.generic]] = load_file(golden_dir() / f"{name}.safetensors")
    return tensors
