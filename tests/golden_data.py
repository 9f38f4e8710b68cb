"""Reference numbers: the full set beside the repository when it is there, a small selection otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
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
    return json.loads(_file(f"{name}.json").read_text())


def load_tensors(name: str) -> dict[str, NDArray[Any]]:
    """All tensors of a file, `name` without its ending."""
    tensors: dict[str, NDArray[np.generic]] = load_file(_file(f"{name}.safetensors"))
    return tensors


def _file(name: str) -> Path:
    """The file; a test or module that asks for one missing in the selection is skipped by name."""
    path = golden_dir() / name
    if not path.is_file() and golden_dir() == _SELECTION:
        pytest.skip(f"{name} is in the full set of reference numbers only ({_FULL})", allow_module_level=True)
    return path


def assert_close(actual: Any, expected: Any, tolerance: float) -> None:
    """Hold the largest difference to `tolerance` times the largest magnitude expected; arrays or tensors."""
    actual, expected = (np.asarray(values, dtype=np.float64) for values in (actual, expected))
    assert actual.shape == expected.shape
    assert np.isfinite(actual).all()
    difference, scale = np.abs(actual - expected).max(), np.abs(expected).max()
    assert difference <= tolerance * scale, (
        f"off by {difference:.3g}, which is {difference / scale:.3g} of {scale:.3g}"
    )
