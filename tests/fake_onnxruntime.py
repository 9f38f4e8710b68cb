"""A fake of onnxruntime-gpu on a machine with a GPU. It does not use CUDA.

It records the providers, options and libraries that our code uses. Its sessions run on the CPU in float32,
and their profiles name the GPU.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime as real

from vim_deploy.onnx_graph.upcast import upcast_to_fp32
from vim_deploy.ops.library import ort_library

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


@dataclass
class Behavior:
    """How the fake behaves, and how it was used."""

    starts: bool = True  # whether the CUDA provider starts
    fails_with: str = ""  # raised instead of falling back to other providers
    on_cpu: tuple[str, ...] = ()  # operators without a CUDA kernel
    profile: str | None = None  # replaces the profile that the runtime writes
    libraries: list[str] = field(default_factory=list)
    sessions: list[dict[str, Any]] = field(default_factory=list)


def fake(behavior: Behavior) -> ModuleType:
    module: Any = ModuleType("onnxruntime")
    module.__version__ = real.__version__
    module.__spec__ = ModuleSpec("onnxruntime", None)
    module.GraphOptimizationLevel = real.GraphOptimizationLevel
    module.get_available_providers = lambda: [CUDA, CPU]

    class SessionOptions(real.SessionOptions):  # type: ignore[misc]
        def register_custom_ops_library(self, path: str) -> None:
            behavior.libraries.append(Path(path).name)
            super().register_custom_ops_library(str(ort_library()))

    class InferenceSession:
        def __init__(
            self,
            model: bytes,
            options: Any,
            providers: list[Any],
            enable_fallback: bool = True,
            disabled_optimizers: list[str] | None = None,
        ) -> None:
            names = [name if isinstance(name, str) else name[0] for name in providers]
            self._on_cuda = CUDA in names
            if self._on_cuda and behavior.fails_with:
                raise RuntimeError(behavior.fails_with)
            self._on_cuda &= behavior.starts
            behavior.sessions.append({"providers": providers, "enable_fallback": enable_fallback})
            self._saved, options.optimized_model_filepath = options.optimized_model_filepath, ""
            if self._saved:
                Path(self._saved).write_bytes(model)
            data = upcast_to_fp32(onnx.load_model_from_string(model)).SerializeToString()
            self._real = real.InferenceSession(
                data, options, providers=[CPU], disabled_optimizers=disabled_optimizers
            )

        def get_providers(self) -> list[str]:
            return [CUDA, CPU] if self._on_cuda else [CPU]

        def get_inputs(self) -> Any:
            return self._real.get_inputs()

        def get_overridable_initializers(self) -> Any:
            return self._real.get_overridable_initializers()

        def run(self, names: Any, feed: dict[str, np.ndarray]) -> Any:
            return self._real.run(names, feed)

        def end_profiling(self) -> str:
            path = Path(self._real.end_profiling())
            path.write_text(behavior.profile or self._rewritten(json.loads(path.read_text())))
            return str(path)

        def _rewritten(self, events: list[dict[str, Any]]) -> str:
            for event in events:
                arguments = event["args"]
                shapes = arguments.get("output_type_shape", [{}])
                of_shapes = all(kind.startswith("int") for shape in shapes for kind in shape)
                if "provider" in arguments and not of_shapes:
                    stays = arguments["op_name"] in behavior.on_cpu
                    arguments["provider"] = CPU if stays else CUDA
            return json.dumps(events)

    module.SessionOptions, module.InferenceSession = SessionOptions, InferenceSession
    return module
