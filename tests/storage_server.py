"""What the local servers of storage protocols for tests have in common."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def running(code: str, variables: Callable[[str], Mapping[str, str]]) -> Iterator[str]:
    """The address of a server, which is stopped at the end.

    `code` runs the server and prints its port. `variables`: what the environment has meanwhile, from the
    address.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        address = f"http://127.0.0.1:{int(process.stdout.readline())}"
        given = variables(address)
        before = {name: os.environ.get(name) for name in given}
        os.environ.update(given)
        try:
            yield address
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value
    finally:
        process.terminate()
        process.wait()


def copy_folder(files: Any, folder: str, target: str) -> None:
    """Copy a folder to a path of a file system of fsspec."""
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file():
            files.pipe_file(f"{target}/{path.relative_to(folder).as_posix()}", path.read_bytes())
