"""The formats of results."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from vim_deploy.errors import OutputError
from vim_deploy.results.columns import REALS, columns_of


class Format(str, Enum):
    """Formats of the results."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


_SUFFIXES = {
    ".csv": Format.CSV,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".parquet": Format.PARQUET,
}


def format_of(path: Path | None, asked: Format | None) -> Format:
    """The format asked for, else the one of the file's name, else CSV for standard output.

    Raises OutputError for a name that tells no format.
    """
    if asked is not None:
        return asked
    if path is None:
        return Format.CSV
    if path.suffix.lower() not in _SUFFIXES:
        raise OutputError(
            f"{path} does not end in one of {', '.join(_SUFFIXES)}; give such a name or --format."
        )
    return _SUFFIXES[path.suffix.lower()]


def check_format(path: Path | None, format: Format, task: str) -> None:
    """Raises OutputError for results that the format, or standard output, cannot hold."""
    if format is Format.CSV and REALS in columns_of(task, 1).types.values():
        raise OutputError(
            f"{task} do not fit into CSV; use -o with a name ending in .jsonl or .parquet, or write them to "
            "files with --arrays."
        )
    if path is None and format is Format.PARQUET:
        raise OutputError("Parquet cannot go to standard output; give a file with -o.")
