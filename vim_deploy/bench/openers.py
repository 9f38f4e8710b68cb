"""Openers (see worker.py) for this package's engines. Their imports are lazy."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vim_deploy.bench.worker import Open, Run


def engine(path: str, threads: int | None = None) -> Open:
    """An engine made by vim-build."""
    from vim_deploy.engines.base import backend_module
    from vim_deploy.engines.container import read_manifest
    from vim_deploy.engines.open import open_engine

    manifest = read_manifest(path)
    backend_module(manifest.backend).environment(manifest)  # to ask for its version, the runtime is imported

    def open_model() -> Run:
        opened = open_engine(path, threads=threads)
        name = opened.output.name
        return lambda pixels: opened.run(pixels)[name]

    return open_model
