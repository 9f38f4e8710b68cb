"""Writing the folder of a model in a repository, by the rule for output files.

A record in the folder has the hashes of the files that vim-build wrote. A file that was edited since, or that
somebody else put there, is replaced only with `force`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from vim_deploy.errors import OutputError, os_errors
from vim_deploy.files import atomic_write, is_folder, sha256_of, sha256_of_file
from vim_deploy.output_files import FileKind, OutputFile, check_output_files

RECORD_NAME = "vim-build.json"
_OPTION = "--triton"
_KIND = "vim-build --triton"


def check_model_folder(
    folder: Path, names: Iterable[str], inputs: Iterable[Path], force: bool = False
) -> None:
    """Raises OutputError if one of the files must not be written."""
    for place in (folder.parent, folder):
        if place.exists() and not is_folder(place):
            raise OutputError(f"{_OPTION}: {place} is not a folder; choose another name.")
    if not folder.parent.exists() and not is_folder(folder.parent.absolute().parent):
        raise OutputError(
            f"{_OPTION} {folder.parent} cannot be written: the folder {folder.parent.absolute().parent} does "
            "not exist; create it first."
        )
    recorded = _recorded(folder)
    outputs = [
        OutputFile(_OPTION, folder / name, _kind(recorded, name))
        for name in (*names, RECORD_NAME)
        if (folder / name).exists() or (folder / name).is_symlink()
    ]
    check_output_files(outputs, inputs, force)


def write_model_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files by name, config.pbtxt last, and delete those of an earlier build that are not needed.

    A process that is killed leaves files that the next build replaces. Raises OutputError.
    """
    with os_errors(OutputError, f"{_OPTION} {folder} cannot be written"):
        earlier, hashes = _recorded(folder), {name: [sha256_of(data)] for name, data in files.items()}
        for name in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        _write_record(
            folder,
            {name: [*earlier.get(name, []), *hashes.get(name, [])] for name in {**earlier, **hashes}},
        )
        for name in sorted(files, key=lambda name: name == "config.pbtxt"):
            with atomic_write(folder / name) as file:
                file.write(files[name])
        for name in earlier.keys() - files.keys():
            if _kind(earlier, name).matches(folder / name):
                (folder / name).unlink()
        _write_record(folder, hashes)


def _write_record(folder: Path, hashes: Mapping[str, list[str]]) -> None:
    with atomic_write(folder / RECORD_NAME) as file:
        file.write(json.dumps({"written_by": _KIND, "files": hashes}, indent=1, sort_keys=True).encode())


def _recorded(folder: Path) -> dict[str, list[str]]:
    """The hashes that a file may have, by its path in the folder; empty without a valid record."""
    try:
        values = json.loads((folder / RECORD_NAME).read_bytes())
        found = {str(name): list(map(str, hashes)) for name, hashes in values["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    # Only names that a build writes: the record is a file like any other.
    return {name: hashes for name, hashes in found.items() if not {"..", ""} & set(name.split("/"))}


def _kind(recorded: Mapping[str, list[str]], name: str) -> FileKind:
    if name == RECORD_NAME:
        return FileKind("a record of vim-build --triton", _is_record)
    return FileKind(
        "an unchanged file of vim-build --triton", partial(_is_recorded, frozenset(recorded.get(name, ())))
    )


def _is_record(path: Path) -> bool:
    return bool(_recorded(path.parent))


def _is_recorded(hashes: frozenset[str], path: Path) -> bool:
    with contextlib.suppress(OSError):
        return sha256_of_file(path) in hashes
    return False
