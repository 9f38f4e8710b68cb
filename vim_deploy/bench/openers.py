"""Openers (see worker.py) for this package's engines. Their imports are lazy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from vim_deploy.bench.worker import Open, Run
    from vim_deploy.engines.open import OpenEngine


def engine(path: str, threads: int | None = None) -> Open:
    """An engine made by vim-build. One that takes named arrays ignores the pixels."""
    from vim_deploy.engines.base import backend_module
    from vim_deploy.engines.container import read_manifest
    from vim_deploy.engines.open import open_engine

    manifest = read_manifest(path)
    backend_module(manifest.backend).environment(manifest)  # to ask for its version, the runtime is imported

    def open_model() -> Run:
        opened = open_engine(path, threads=threads)
        if takes_arrays(opened):
            arrays = example_arrays(opened)
            return lambda pixels: next(iter(opened.run(**arrays).values()))
        name = opened.output.name
        return lambda pixels: opened.run(pixels)[name]

    return open_model


def takes_arrays(opened: OpenEngine) -> bool:
    """Whether the engine takes named arrays instead of pixels."""
    from vim_deploy.tasks.registry import TASKS

    return TASKS.get(opened.metadata.task).arrays


def example_arrays(opened: OpenEngine) -> Mapping[str, np.ndarray]:
    """Random inputs by name, of the shapes of the examples at export."""
    from vim_deploy.engines.selfcheck import random_arrays

    arrays = random_arrays(opened.inputs, opened.metadata, opened.path)
    assert isinstance(arrays, Mapping)
    return arrays
