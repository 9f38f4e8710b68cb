"""The options of feature extraction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from vim_deploy.errors import ExportError
from vim_deploy.options import RunPath, check_values, option

FORMATS = ("npy", "safetensors")
FEATURE_KINDS = ("pooled", "tokens", "map")


@dataclass(frozen=True)
class FeatureOptions:
    """`arrays` None: features are written to the rows."""

    arrays: Path | None = option(
        writes="folder",
        type=RunPath(file_okay=False),
        help="Folder for the features, one file per image, instead of numbers in the rows.",
    )
    arrays_format: str = option(
        "npy", for_files=True, type=click.Choice(FORMATS), help="Format of the files in --arrays."
    )


@dataclass(frozen=True)
class FeatureExportOptions:
    """`features`: pooled, tokens or map; see FeaturesModule."""

    features: str = option(
        "pooled",
        type=click.Choice(FEATURE_KINDS),
        help="One vector per image, one per token, or the patches as a feature map (embed, height, width).",
    )

    def __post_init__(self) -> None:
        check_values(self, ExportError)
