"""Recognizes results that `vim-infer` wrote, so that nothing else is replaced by results."""

from __future__ import annotations

import re
from pathlib import Path

from vim_deploy.errors import OutputError
from vim_deploy.output_files import FileKind, head_of
from vim_deploy.results.columns import COMMON_FIELDS
from vim_deploy.results.output import companions
from vim_deploy.storage import StoragePath

_HEAD_BYTES = 1 << 16  # the longest escaped path fits
_CSV_START = ",".join((*COMMON_FIELDS, "")).encode()
_JSON_ROW = re.compile(rb'\{"path": "(?:[^"\\]|\\.)*", "status": "(?:ok|error)", "reason": ')
_PARQUET_MAGIC = b"PAR1"
_PART = re.compile(r"part-\d+\.(?:parquet|csv|jsonl)|\.[0-9a-f.]+\.tmp|merged\.tmp")
_RECORD_START = b'{\n "identity": '


def is_results(path: Path) -> bool:
    """Whether a file starts like results in CSV or JSON Lines, or is Parquet with the columns of results."""
    head = head_of(path, _HEAD_BYTES)
    if head.startswith(_PARQUET_MAGIC):
        return all(name.encode() in _parquet_footer(path) for name in COMMON_FIELDS)
    return head.startswith(_CSV_START) or _JSON_ROW.match(head) is not None


RESULTS_FILE = FileKind("a results file of vim-infer", is_results)


def check_companions(output: Path) -> None:
    """Raises OutputError if a companion file of the run exists and no run wrote it."""
    if isinstance(output, StoragePath):
        return  # the folder of parts and the record are read before they are written
    partial, record, image_files = companions(output.resolve())
    recorded = record.exists()
    if recorded and not head_of(record, len(_RECORD_START)) == _RECORD_START:
        raise _taken(output, record)
    # A killed run leaves its record beside partial rows of any length, and beside its list of files.
    if image_files.exists() and not recorded:
        raise _taken(output, image_files)
    if partial.is_dir():
        if any(not _PART.fullmatch(entry.name) for entry in partial.iterdir()):
            raise _taken(output, partial)
    elif partial.exists() and partial.stat().st_size and not recorded and not is_results(partial):
        raise _taken(output, partial)


def _taken(output: Path, path: Path) -> OutputError:
    return OutputError(
        f"-o {output} needs {path} during the run, which exists and was not written by vim-infer; choose "
        "another name, or move that file."
    )


def _parquet_footer(path: Path) -> bytes:
    """The metadata at the end of a Parquet file, followed by its length in 4 bytes and the magic number."""
    with path.open("rb") as file:
        size = path.stat().st_size
        file.seek(max(0, size - 8))
        length = int.from_bytes(file.read(4), "little")
        file.seek(max(0, size - 8 - length))
        return file.read(min(length, 1 << 24))
