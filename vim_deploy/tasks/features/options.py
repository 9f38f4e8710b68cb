"""The options of feature extraction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from vim_deploy.options import option

FORMATS = ("npy", "safetensors")


@dataclass(frozen=True)
class FeatureOptions:
    """`arrays` None: features are written to the rows."""

    arrays: Path | None = option(
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder for one file of features per image, instead of numbers in the rows.",
    )
    arrays_format: str = option("npy", type=click.Choice(FORMATS), help="Format of the files in --arrays.")
