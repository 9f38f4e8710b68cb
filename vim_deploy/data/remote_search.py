"""Finds files in storage: single files, folders and globs, in the same order as on disk.

Folders and globs need a storage that lists its files; a URL of http:// or https:// is always one file. Names
decide what is an image, because reading the first bytes of every file would be a request each.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from glob import has_magic
from typing import Any

from vim_deploy.data.remote import check_fsspec
from vim_deploy.errors import ConfigError, ImageError, MissingDependencyError
from vim_deploy.storage.path import file_system
from vim_deploy.storage.url import has_credentials, is_url, reason_of, without_credentials

_SINGLE = ("http", "https")


def urls_of(given: str) -> list[str]:
    """The files and folders that an input stands for, a glob in sorted order.

    Raises ImageError for an input that does not exist, cannot be looked up or matches nothing, and
    ConfigError for one with credentials.
    """
    if has_credentials(given):
        raise ConfigError(
            f"input {without_credentials(given)} was given with credentials in the URL, which results and "
            "reports would show; leave them out and set them in the environment."
        )
    if _is_single(given):
        check_fsspec(given)
        return [given]
    try:
        system = file_system(given)
        if system.exists(given):
            return [given]
        found = sorted(system.glob(given)) if has_magic(given) else []
    except MissingDependencyError:
        raise
    except Exception as error:  # every file system of fsspec has its own
        raise ImageError(f"input {given!r} cannot be looked up: {reason_of(error)}.") from None
    if not found:
        kind = "matches no file" if has_magic(given) else "does not exist"
        raise ImageError(f"input {given!r} {kind}; give image files, folders or globs.")
    return [_url(given, name) for name in found]


def files_at(url: str) -> Iterator[tuple[str, bool]]:
    """The files of a folder with its subfolders, without hidden ones; a file as itself.

    The second value says whether the URL is that file. A URL that cannot be looked up is a file: reading it
    gives the reason.
    """
    if _is_single(url) or has_credentials(url):
        yield url, True
        return
    waiting = [url.rstrip("/")]
    while waiting:
        folder = waiting.pop()
        try:
            entries = _entries(file_system(url), folder)
        except Exception:  # every file system of fsspec has its own
            yield folder, True
            continue
        if entries is None:
            yield folder, folder == url.rstrip("/")
            continue
        yield from ((f"{folder}/{name}", False) for name, is_folder in entries if not is_folder)
        waiting += [f"{folder}/{name}" for name, is_folder in reversed(entries) if is_folder]


def subfolders_at(url: str) -> list[str]:
    """The names of the folders in a folder; none for what cannot be listed, which the search reports."""
    if _is_single(url) or has_credentials(url):
        return []
    try:
        entries = _entries(file_system(url), url.rstrip("/"))
    except Exception:  # every file system of fsspec has its own
        return []
    return [name for name, is_folder in entries or () if is_folder]


def _entries(system: Any, folder: str) -> list[tuple[str, bool]] | None:
    """Sorted names, and whether each is a folder; None for a file."""
    if system.isfile(folder):
        return None
    found = {
        (posixpath.basename(str(entry["name"]).rstrip("/")), entry["type"] == "directory")
        for entry in system.ls(folder, detail=True)
        # Some storages list an empty object for the folder itself.
        if str(entry["name"]).rstrip("/") != system._strip_protocol(folder)
    }
    return sorted((name, is_folder) for name, is_folder in found if name and not name.startswith("."))


def _url(given: str, name: str) -> str:
    return name if is_url(name) else f"{given.partition('://')[0]}://{name.lstrip('/')}"


def _is_single(url: str) -> bool:
    return url.partition("://")[0].lower() in _SINGLE
