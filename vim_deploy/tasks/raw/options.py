"""The options of the task raw."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from vim_deploy.options import option


@dataclass(frozen=True)
class RawOptions:
    """`outputs` None: no run of vim-infer."""

    outputs: Path | None = option(
        writes="folder",
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder for the output arrays, one .npz file per input file. Required for this task.",
    )
