"""The file formats of results."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from vim_deploy.errors import OutputError
from vim_deploy.results.columns import Columns


class Format(str, Enum):
    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


_SUFFIXES = {
    ".csv": Format.CSV,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".parquet": Format.PARQUET,
}


def format_of(path: Path | None, requested: Format | None) -> Format:
    """The requested format, else that of the file's suffix, else CSV for standard output.

    Raises OutputError for an unknown suffix.
    """
    if requested is not None:
        return requested
    if path is None:
        return Format.CSV
    if path.suffix.lower() not in _SUFFIXES:
        raise OutputError(
            f"{path} does not end in one of {', '.join(_SUFFIXES)}; use one of these suffixes or --format."
        )
    return _SUFFIXES[path.suffix.lower()]


def check_format(path: Path | None, format: Format, columns: Columns) -> None:
    """Raises OutputError for columns that cannot be written in this format or to standard output."""
    if format is Format.CSV and columns.csv_error is not None:
        raise OutputError(columns.csv_error)
    if path is None and format is Format.PARQUET:
        raise OutputError("Parquet cannot be written to standard output; give a file with -o.")
