"""Deserializing an engine, with the code that it may contain."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Any

from vim_deploy.errors import EngineError

ALLOW_CODE_VARIABLE = "VIM_DEPLOY_ALLOW_ENGINE_CODE"


def deserialize(
    trt: ModuleType, logger: Any, plan: bytes, library: Path | None = None, allow_code: bool = False
) -> Any:
    """The engine of a serialized plan. There must be a GPU. Raises EngineError.

    `library`: our plugin, if the engine uses it. With `allow_code` the engine may contain a runtime, which
    finds plugins only in the registry of the `Runtime` that deserializes it.
    """
    runtime = trt.Runtime(logger)
    if allow_code:
        runtime.engine_host_code_allowed = True
        if library is not None:
            runtime.get_plugin_registry().load_library(str(library))
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise EngineError(f"TensorRT {trt.__version__} does not deserialize the engine: {logger.reasons()}")
    return engine


def code_is_allowed() -> bool:
    """True if engines that contain a runtime, which is code, are trusted; raises EngineError otherwise."""
    if os.environ.get(ALLOW_CODE_VARIABLE) != "1":
        raise EngineError(
            "a version-compatible engine runs code that is in its file. If you trust the file, set "
            f"{ALLOW_CODE_VARIABLE}=1."
        )
    return True
