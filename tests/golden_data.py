"""Reference data: the full set next to the repository if it exists, otherwise a small selection."""

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
    """The folder of the reference data in use."""
    return _FULL if _FULL.is_dir() else _SELECTION


def load_json(name: str) -> Any:
    """The description of the cases; `name` without the suffix."""
    return json.loads(_file(f"{name}.json").read_text())


def load_tensors(name: str) -> dict[str, NDArray[Any]]:
    """All tensors of a file; `name` without the suffix."""
    tensors: dict[str, NDArray[np.generic]] = load_file(_file(f"{name}.safetensors"))
    return tensors


def _file(name: str) -> Path:
    """The path of a file. Skips the test or module if the file is missing in the selection."""
    path = golden_dir() / name
    if not path.is_file() and golden_dir() == _SELECTION:
        pytest.skip(f"{name} is only in the full set of reference data ({_FULL})", allow_module_level=True)
    return path


def assert_close(actual: Any, expected: Any, tolerance: float) -> None:
    """Assert that the largest difference is at most `tolerance` times the largest expected magnitude."""
    actual, expected = (np.asarray(values, dtype=np.float64) for values in (actual, expected))
    assert actual.shape == expected.shape
    assert np.isfinite(actual).all()
    difference, scale = np.abs(actual - expected).max(), np.abs(expected).max()
    assert difference <= tolerance * scale, (
        f"off by {difference:.3g}, which is {difference / scale:.3g} of {scale:.3g}"
    )
