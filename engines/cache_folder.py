"""Where the cache is, and its subfolders."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from vim_deploy.errors import EngineError, os_errors


def cache_folder() -> Path:
    """`$VIM_DEPLOY_CACHE`, or `vim_deploy` in the user's cache folder.

    Raises EngineError for a user without a home folder, for example in a container.
    """
    if chosen := os.environ.get("VIM_DEPLOY_CACHE"):
        return Path(chosen)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vim_deploy"
    except RuntimeError:
        raise EngineError(
            "the user has no home folder for the cache. Set VIM_DEPLOY_CACHE to a writable folder."
        ) from None


def cache_subfolder(name: str, mode: int = 0o777) -> Path:
    """A folder in the cache folder, created on first use with this mode. Raises EngineError."""
    folder = cache_folder() / name
    advice = "Set VIM_DEPLOY_CACHE to a writable folder."
    with os_errors(EngineError, f"the cache folder {folder} cannot be created", advice):
        folder.mkdir(mode, parents=True, exist_ok=True)
    return folder


def mark_used(entry: Path) -> None:
    """Set the modification time of an entry, from which its last use is known."""
    with contextlib.suppress(OSError):  # the cache may be read-only
        os.utime(entry)
