"""The backends by name. A backend's module is imported when it is used and not before."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

from vim_deploy.errors import EngineError

if TYPE_CHECKING:
    from vim_deploy.engines.base import BackendModule

BACKENDS = {
    "onnxruntime": "vim_deploy.engines.onnxruntime.backend",
    "tensorrt": "vim_deploy.engines.tensorrt.backend",
}
DEVICES = ("cpu", "cuda")
DEFAULT_DEVICES = {"onnxruntime": "cpu", "tensorrt": "cuda"}


def backend_module(name: str) -> BackendModule:
    """The module that serves a backend. Raises EngineError for an unknown one."""
    if name not in BACKENDS:
        raise EngineError(f"unknown backend {name!r}; expected one of {', '.join(BACKENDS)}.")
    try:
        return cast("BackendModule", importlib.import_module(BACKENDS[name]))
    except ModuleNotFoundError as error:
        if error.name != BACKENDS[name]:
            raise
        raise EngineError(
            f"this version of vim-deploy has no {name} backend; use --backend onnxruntime."
        ) from None
