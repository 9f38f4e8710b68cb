"""Reads complete results files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vim_deploy.errors import OutputError
from vim_deploy.results.columns import Columns
from vim_deploy.results.formats import Format
from vim_deploy.results.parquet import read_part
from vim_deploy.results.row import Row
from vim_deploy.results.text import codec


def read_rows(path: Path, format: Format, columns: Columns) -> Iterator[Row]:
    """The rows of a results file. Raises OutputError for a file that is not one or has other columns."""
    try:
        if format is Format.PARQUET:
            yield from read_part(path, columns)
            return
        text = codec(format, columns)
        with path.open("rb") as file:
            if file.read(len(text.header)) != text.header:
                raise ValueError("it has other columns")
            yield from map(text.row, file)
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} cannot be read as results ({error}).") from None
