"""Files that several tests need and that take long to make: made once per test run, for all its processes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import onnx

FOLDER_VARIABLE = "VIM_DEPLOY_TEST_FILES"  # set by conftest.py


def made_once(name: str, make: Callable[[], bytes]) -> bytes:
    """The content of the file `name`, which `make` returns when it is needed for the first time.

    Other processes that need it wait. What `make` raises is raised, and the next caller tries again. Scripts
    that are not run by pytest have no folder of shared files, so that it is always made.
    """
    if FOLDER_VARIABLE not in os.environ:
        return make()
    folder = Path(os.environ[FOLDER_VARIABLE])
    path = folder / name
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            partial = folder / f"{name}.partial"
            partial.write_bytes(make())
            partial.replace(path)
    return path.read_bytes()


def exported_once(name: str, export: Callable[[], onnx.ModelProto]) -> onnx.ModelProto:
    """A copy of the graph that `export` returns, for callers to change."""

    def make() -> bytes:
        data: bytes = export().SerializeToString()
        return data

    return onnx.load_model_from_string(made_once(f"{name}.onnx", make))
