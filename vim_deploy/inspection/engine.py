"""Describes an engine from its manifest; the runtime is only asked for its version."""

from __future__ import annotations

from typing import Any

from vim_deploy.engines.base import backend_module
from vim_deploy.engines.container import read_engine
from vim_deploy.engines.manifest import Manifest
from vim_deploy.errors import VimDeployError
from vim_deploy.inspection.model import describe_file, describe_model


def describe_engine(path: str) -> dict[str, Any]:
    """`manifest`: as stored. `build_command`: what builds the engine again. `validated`: by vim-validate.
    `usable`: whether the engine can be opened here, with the `problem` if it cannot.

    Raises EngineError for a file that is damaged or was edited.
    """
    manifest, _ = read_engine(path)
    stored = manifest.to_dict()
    del stored["metadata"]  # it is in `model`, parsed
    problem = _problem(path, manifest)
    return {
        **describe_file("engine", path),
        "model": describe_model(manifest.model_metadata(path), manifest.outputs),
        "manifest": stored,
        "build_command": manifest.rebuild_command(path),
        "validated": manifest.validated,
        "usable": problem is None,
        "problem": problem,
    }


def _problem(path: str, manifest: Manifest) -> str | None:
    try:
        manifest.check_environment(path, backend_module(manifest.backend).environment(manifest))
    except VimDeployError as error:
        return str(error)
    return None
