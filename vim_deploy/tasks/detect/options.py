"""The options of detection."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from vim_deploy.errors import ExportError
from vim_deploy.options import RunPath, check_values, option
from vim_deploy.output_files import FileKind, starting

PICTURE_THRESHOLD = 0.25


@dataclass(frozen=True)
class DetectExportOptions:
    """See `vim-export --help`."""

    fixed_rows: bool = option(
        False,
        help="Give the outputs a fixed number of rows, and add the number of objects as an output. TensorRT "
        "engines need this.",
    )

    def __post_init__(self) -> None:
        check_values(self, ExportError)


@dataclass(frozen=True)
class DetectOptions:
    """See `vim-infer --help`. `score_threshold` None: the file's."""

    coco: Path | None = option(
        writes=FileKind("COCO results of vim-infer", starting(b'[\n{"image_id": ', b"[]\n")),
        type=RunPath(dir_okay=False),
        help="File for the results in COCO's format, with masks.",
    )
    annotations: Path | None = option(
        type=click.Path(path_type=Path, dir_okay=False),
        help="COCO annotations of the images, to compute the average precision of boxes and masks.",
    )
    score_threshold: float | None = option(
        type=click.FloatRange(min=0, max=1),
        help="Minimum score of objects in results (exclusive).  [default: the model's]",
    )
    picture_threshold: float = option(
        PICTURE_THRESHOLD,
        for_files=True,
        pictures=True,
        type=click.FloatRange(min=0, max=1),
        help="Minimum score of objects in overlays and in the report (exclusive).",
    )

    @property
    def needs_masks(self) -> bool:
        """Whether rows need the objects' masks."""
        return self.coco is not None or self.annotations is not None
