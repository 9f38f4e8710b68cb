"""What the scripts that train the examples have in common: options, the run itself, what is recorded."""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import sklearn
import torch
from training_scan import training_scan

from vim_deploy.model import mixer


def options(
    description: str | None, name: str, length: str, default: int, threads: int
) -> argparse.Namespace:
    """`out`, `seed`, `threads`, and how long to train (`length`: "steps" or "epochs")."""
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
    """Run it with the scan that has a gradient."""
    started = time.perf_counter()
    with patch.object(mixer, "selective_scan", training_scan):
        training()
    return time.perf_counter() - started


def versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
    }
