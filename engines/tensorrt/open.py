"""From a serialised engine to one that runs: code that it may bring, and weights that it may lack."""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any

from vim_deploy.errors import EngineError

_MOST_NAMED = 5
ALLOW_CODE_VARIABLE = "VIM_DEPLOY_ALLOW_ENGINE_CODE"


def deserialize(trt: ModuleType, logger: Any, plan: bytes, allow_code: bool = False) -> Any:
    """The engine in a serialised form; a GPU must be there. Raises EngineError."""
    runtime = trt.Runtime(logger)
    if allow_code:
        runtime.engine_host_code_allowed = True
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise EngineError(f"TensorRT {trt.__version__} does not open the engine: {logger.reasons()}")
    return engine


def code_is_allowed() -> bool:
    """For an engine that brings a runtime of its own, which is code: EngineError unless it is trusted."""
    if os.environ.get(ALLOW_CODE_VARIABLE) != "1":
        raise EngineError(
            "a version-compatible engine runs code that is in its file. If you trust the file, set "
            f"{ALLOW_CODE_VARIABLE}=1."
        )
    return True


def refit(trt: ModuleType, logger: Any, engine: Any, graph: bytes) -> None:
    """Fill a stripped engine with the weights of the graph that it was built from. Raises EngineError."""
    refitter = trt.Refitter(engine, logger)
    parser = trt.OnnxParserRefitter(refitter, logger)
    if not parser.refit_from_bytes(graph) or not refitter.refit_cuda_engine():
        missing = [str(name) for name in refitter.get_missing_weights()]
        lacks = f"; it still lacks {', '.join(missing[:_MOST_NAMED])}" if missing else ""
        more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
        raise EngineError(
            f"TensorRT {trt.__version__} does not take the weights: {logger.reasons()}{lacks}{more}. Build "
            "the engine without --strip."
        )
