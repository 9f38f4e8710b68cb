"""What is in the cache folder: engines of ONNX files, ONNX files of checkpoints, data of opened engines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from vim_deploy.engines.base import backend_module
from vim_deploy.engines.cache_folder import cache_folder
from vim_deploy.engines.check_records import FOLDER as CHECKS_FOLDER
from vim_deploy.engines.check_records import SUFFIX
from vim_deploy.engines.container import read_manifest
from vim_deploy.engines.shared_weights import FOLDER as WEIGHTS_FOLDER
from vim_deploy.errors import EngineError, VimDeployError, os_errors
from vim_deploy.files import is_temporary

# Only files with the names of entries are listed and removed.
_NAMES = {
    "engines": re.compile(r"[0-9a-f]{40}\.engine"),
    "exports": re.compile(r".*-[0-9a-f]{40}\.onnx"),
    WEIGHTS_FOLDER: re.compile(r"[0-9a-f]{64}\.weights"),
    CHECKS_FOLDER: re.compile(rf"[0-9a-f]{{64}}{re.escape(SUFFIX)}"),
}
_CONTENTS = {WEIGHTS_FOLDER: "weights of opened engines", CHECKS_FOLDER: "record of a checked graph"}


# Unfinished files that were not written to for this long were left by a process that was killed.
_UNFINISHED = timedelta(hours=1)


@dataclass(frozen=True)
class CacheEntry:
    """A file in the cache. `used`: when it was last opened through the cache. `problem`: why it cannot be
    opened here, for example because an engine was built by another version; None if it can."""

    path: Path
    bytes: int
    used: datetime
    content: str
    problem: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "path": str(self.path),
            "bytes": self.bytes,
            "used": self.used.isoformat(timespec="seconds"),
            "content": self.content,
            "problem": self.problem,
        }


def cache_entries() -> list[CacheEntry]:
    """All entries, the last used first. Raises EngineError for a cache folder that cannot be read."""
    with os_errors(EngineError, f"the cache folder {cache_folder()} cannot be read"):
        return sorted(_entries(), key=lambda entry: entry.used, reverse=True)


def remove_entry(entry: CacheEntry) -> None:
    """Raises EngineError. A process that has the engine open keeps working."""
    with os_errors(EngineError, f"{entry.path} cannot be removed"):
        entry.path.unlink(missing_ok=True)


def _entries() -> Iterator[CacheEntry]:
    for name, pattern in _NAMES.items():
        folder = cache_folder() / name
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            unfinished = is_temporary(path.name)
            if not (unfinished or pattern.fullmatch(path.name)) or path.is_symlink() or not path.is_file():
                continue
            status = path.stat()
            used = datetime.fromtimestamp(status.st_mtime, timezone.utc)
            if unfinished and datetime.now(timezone.utc) - used < _UNFINISHED:
                continue
            content, problem = _described(name, path)
            yield CacheEntry(path, status.st_size, used, content, problem)


def _described(folder: str, path: Path) -> tuple[str, str | None]:
    if is_temporary(path.name):
        return "unfinished file", "the process that wrote it was killed"
    if folder == "engines":
        return _engine(path)
    return _CONTENTS.get(folder, path.stem[:-41]), None


def _engine(path: Path) -> tuple[str, str | None]:
    """What an engine was built from, and why it cannot be opened."""
    content = "unknown"
    try:
        manifest = read_manifest(path)
        content = f"{manifest.source.name} for {manifest.backend} on {manifest.device}"
        manifest.check_environment(str(path), backend_module(manifest.backend).environment(manifest))
    except VimDeployError as error:
        return content, str(error)
    return content, None
