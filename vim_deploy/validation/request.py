"""What vim-validate compares, and how."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vim_deploy.families.family import ModelSource
from vim_deploy.validation.compare import Tolerance
from vim_deploy.validation.labels import LabelSource


@dataclass(frozen=True)
class ValidationRequest:
    """The model, artifacts, inputs and checks of a run. `labels` measures accuracy on all `images`."""

    source: ModelSource
    artifacts: tuple[Path, ...]
    images: tuple[str, ...] = ()
    arrays: tuple[str, ...] = ()  # files for artifacts that take named arrays
    max_images: int = 16
    random_images: int = 4
    hard: bool = True
    function_body: bool = True
    threads: int | None = None
    layers: bool = False
    block: int | None = None  # of --layers, to show in detail
    invariance: bool = False
    labels: LabelSource | None = None
    ground_truth: Path | None = None  # of `images`, to measure mIoU or average precision
    tolerance: Tolerance | None = None  # instead of that of an artifact's precision
