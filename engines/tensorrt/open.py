"""Deserializing an engine, with the code that it may contain and the weights that it may lack."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Any

from vim_deploy.engines.tensorrt.api import parser_errors
from vim_deploy.errors import EngineError

_MAX_NAMED = 5
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


def refit(trt: ModuleType, logger: Any, engine: Any, graph: bytes) -> None:
    """Set the weights of a stripped engine from the graph that it was built from. Raises EngineError."""
    refitter = trt.Refitter(engine, logger)
    parser = trt.OnnxParserRefitter(refitter, logger)
    if not parser.refit_from_bytes(graph) or not refitter.refit_cuda_engine():
        missing = _missing_weights(refitter, graph)
        lacks = f"; missing: {', '.join(missing[:_MAX_NAMED])}" if missing else ""
        more = f" and {len(missing) - _MAX_NAMED} more" if len(missing) > _MAX_NAMED else ""
        raise EngineError(
            f"TensorRT {trt.__version__} does not accept the weights: "
            f"{parser_errors(parser) or logger.reasons()}{lacks}{more}. Build the engine without --strip."
        )


def _missing_weights(refitter: Any, graph: bytes) -> list[str]:
    """Weights that were not set, and weights of the engine that the graph does not have.

    TensorRT's parser makes constants, such as tmp_weight_1, that the refitter cannot find in the graph.
    """
    import onnx

    known = {item.name for item in onnx.load_model_from_string(graph).graph.initializer}
    created = {str(name) for name in refitter.get_all_weights()} - known
    return sorted(created | {str(name) for name in refitter.get_missing_weights()})
