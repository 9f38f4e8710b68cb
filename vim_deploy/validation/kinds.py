"""The output files of vim-validate: their formats, and how those of an earlier run are recognized."""

from __future__ import annotations

from pathlib import Path

from vim_deploy.errors import OutputError
from vim_deploy.output_files import FileKind, containing

GENERATOR = "vim-validate"  # in the metadata of the page and of plots
PAGE_FILE = FileKind(
    "a report of vim-validate", containing(f'<meta name="generator" content="{GENERATOR}">'.encode())
)
PLOT_FILE = FileKind("a plot of vim-validate", containing(GENERATOR.encode()))
PLOT_FORMATS = ("png", "svg", "pdf")


def plot_format(path: Path) -> str:
    """The format of a plot, from the suffix. Raises OutputError for other suffixes."""
    suffix = path.suffix.lower().lstrip(".")
    if suffix not in PLOT_FORMATS:
        raise OutputError(
            f"{path} has the suffix {suffix!r}; plots have one of {', '.join(PLOT_FORMATS)}. Choose "
            "another name."
        )
    return suffix
