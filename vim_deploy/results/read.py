"""Complete results, read back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vim_deploy.errors import OutputError
from vim_deploy.results.formats import Format
from vim_deploy.results.parquet import read_part
from vim_deploy.results.row import Row
from vim_deploy.results.text import codec


def read_rows(path: Path, format: Format, task: str, top_k: int) -> Iterator[Row]:
    """The rows of a results file, without features. Raises OutputError for another file."""
    try:
        if format is Format.PARQUET:
            yield from read_part(path, task, top_k)
            return
        text = codec(format, task, top_k)
        with path.open("rb") as file:
            if file.read(len(text.header)) != text.header:
                raise ValueError("other columns")
            yield from map(text.row, file)
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} cannot be read as results ({error}).") from None
