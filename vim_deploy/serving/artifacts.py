"""What each backend of the server loads: its files and the part of the configuration that it reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any

from vim_deploy.engines.build import built_engine
from vim_deploy.engines.container import engine_bytes
from vim_deploy.engines.manifest import Manifest
from vim_deploy.engines.onnxruntime.cuda_bfloat16 import upcast_unsupported
from vim_deploy.engines.onnxruntime.options import OnnxruntimeOptions
from vim_deploy.engines.source import SourceModel
from vim_deploy.engines.spec import BuildOptions
from vim_deploy.engines.tensorrt.options import TensorrtOptions
from vim_deploy.errors import EngineError
from vim_deploy.ops.library import ort_cuda_library, ort_library, tensorrt_library
from vim_deploy.precision import Precision
from vim_deploy.serving.config import MARKER, parameters

ENGINE_NAME = "model.engine"
# ONNX Runtime's backend: "all" is what it does without this field.
_LEVELS = {"extended": 1, "basic": -1, "none": 2}
_MODEL = """{marker}
from vim_deploy.serving.{module} import {name} as TritonPythonModel

__all__ = ["TritonPythonModel"]
"""


@dataclass(frozen=True)
class Artifact:
    """`files`: contents by their path in the model's folder. `config`: fields of config.pbtxt.

    `library`: the name of the native library among the files. `manifest`: that of the engine that was built
    and compared with the ONNX file.
    """

    manifest: Manifest
    files: dict[str, bytes]
    config: dict[str, Any] = field(default_factory=dict)
    library: str | None = None


def python_model(module: str, name: str) -> bytes:
    """The model.py of a class of this package."""
    return _MODEL.format(marker=MARKER, module=module, name=name).encode()


def _python(source: SourceModel, options: BuildOptions, folder: PurePath) -> Artifact:
    manifest, payload = built_engine(source, options.self_contained())
    files = {
        "1/model.py": python_model("tensor_model", "TensorModel"),
        f"1/{ENGINE_NAME}": engine_bytes(manifest, payload),
    }
    return Artifact(manifest, files, {"backend": "python"})


def _onnxruntime(source: SourceModel, options: BuildOptions, folder: PurePath) -> Artifact:
    """The ONNX file itself: the server's version of ONNX Runtime optimizes it.

    On GPUs, operators for which ONNX Runtime has no bfloat16 kernels are computed in float32, as in engines.
    """
    if not isinstance(options, OnnxruntimeOptions):
        raise _other_engine("onnxruntime", options)
    if options.cpu_precision != Precision.FP32:
        raise EngineError(
            "--cpu-precision changes the graph, but the server's ONNX Runtime loads the file itself; leave "
            "it out, or use --triton-backend python."
        )
    manifest, _ = built_engine(source, replace(options, fuse=False))
    data = source.data
    if source.metadata.precision == Precision.BF16:
        data = upcast_unsupported(data)
    files, config = {"1/model.onnx": data}, {"backend": "onnxruntime"} | _session(options, manifest)
    if manifest.operator["implementation"] != "library":
        return Artifact(manifest, files, config)
    library = ort_cuda_library() if options.device == "cuda" else ort_library()
    files[library.name] = library.read_bytes()
    config["model_operations"] = {"op_library_filename": [str(folder / library.name)]}
    return Artifact(manifest, files, config, library.name)


def _session(options: OnnxruntimeOptions, manifest: Manifest) -> dict[str, Any]:
    """The fields that set the session's options as for an engine."""
    config: dict[str, Any] = {"default_model_filename": "model.onnx"}
    optimization: dict[str, Any] = {}
    if options.optimization in _LEVELS:
        optimization["graph"] = {"level": _LEVELS[options.optimization]}
    if options.device == "cuda" and not manifest.build_info.get("tf32"):
        cuda = {"name": "cuda", "parameters": [{"key": "use_tf32", "value": "0"}]}
        optimization["execution_accelerators"] = {"gpu_execution_accelerator": [cuda]}
    if optimization:
        config["optimization"] = optimization
    if options.threads is not None:
        config["parameters"] = parameters({"intra_op_thread_count": options.threads})
    return config


def _tensorrt(source: SourceModel, options: BuildOptions, folder: PurePath) -> Artifact:
    if not isinstance(options, TensorrtOptions):
        raise _other_engine("tensorrt", options)
    if options.strip:
        raise EngineError("--strip: the server cannot add the weights to a plan without them; leave it out.")
    manifest, plan = built_engine(source, options)
    library = tensorrt_library(int(tensorrt_version(manifest).partition(".")[0]))
    files = {"1/model.plan": plan.data, library.name: library.read_bytes()}
    config = {"platform": "tensorrt_plan", "default_model_filename": "model.plan"}
    return Artifact(manifest, files, config, library.name)


def tensorrt_version(manifest: Manifest) -> str:
    """The version that a plan needs; the major version, for one that runs in all of it."""
    environment = manifest.environment
    return environment.get("tensorrt") or environment["tensorrt_major"]


def _other_engine(name: str, options: BuildOptions) -> EngineError:
    return EngineError(
        f"--triton-backend {name} needs --backend {name}, not {options.backend}; change one of them."
    )


# By the names in `SERVER_BACKENDS`. The last argument is the model's folder as the server sees it.
ARTIFACTS: dict[str, Callable[[SourceModel, BuildOptions, PurePath], Artifact]] = {
    "python": _python,
    "onnxruntime": _onnxruntime,
    "tensorrt": _tensorrt,
}
