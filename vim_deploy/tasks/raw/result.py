"""The results of networks with named arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RawOutputs:
    """The outputs of one run, by name."""

    arrays: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class RawFile:
    """The file that has the outputs of one run: its escaped path below the --outputs folder, and shapes."""

    path: str
    shapes: Mapping[str, tuple[int, ...]]
