"""Shared by the training scripts: options, timing, and the recorded versions."""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import sklearn
import torch


def options(
    description: str | None, name: str, length: str, default: int, threads: int
) -> argparse.Namespace:
    """Options `out`, `seed`, `threads`, and the number of "steps" or "epochs" (`length`)."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / name)
    parser.add_argument(f"--{length}", type=int, default=default)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=threads)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    return given


def seconds_of(training: Callable[[], None]) -> float:
    """Run the training; returns the seconds it took."""
    started = time.perf_counter()
    training()
    return time.perf_counter() - started


def versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
    }
