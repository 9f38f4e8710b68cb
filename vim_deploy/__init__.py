"""Deploys trained Vision Mamba models; see README.md. Importing the package imports no framework."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from vim_deploy import package
from vim_deploy.errors import (
    CheckpointError,
    ConfigError,
    DecoderError,
    EngineError,
    ExportError,
    ImageError,
    InputError,
    MissingDependencyError,
    OperatorLibraryError,
    OutputError,
    VimDeployError,
)
from vim_deploy.registry import lazy_attributes

if TYPE_CHECKING:
    from vim_deploy.data.decode import Limits
    from vim_deploy.interface.convert import build, export
    from vim_deploy.interface.convert_module import export_module
    from vim_deploy.interface.load import load
    from vim_deploy.interface.model import Model
    from vim_deploy.tasks.classify.model_result import ClassifyResult
    from vim_deploy.tasks.detect.model_result import DetectResult
    from vim_deploy.tasks.features.model_result import FeaturesResult
    from vim_deploy.tasks.model_result import Result
    from vim_deploy.tasks.segment.model_result import SegmentResult

__version__ = package.VERSION
__all__ = [
    "CheckpointError",
    "ClassifyResult",
    "ConfigError",
    "DecoderError",
    "DetectResult",
    "EngineError",
    "ExportError",
    "FeaturesResult",
    "ImageError",
    "InputError",
    "Limits",
    "MissingDependencyError",
    "Model",
    "OperatorLibraryError",
    "OutputError",
    "Result",
    "SegmentResult",
    "VimDeployError",
    "__version__",
    "build",
    "export",
    "export_module",
    "load",
]

# Without it, ONNX Runtime sends usage data to Microsoft, and stores graph names, messages and paths in the
# user's cache. It is read when onnxruntime is imported; child processes inherit it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# The wheel maps `export/` and `engines/` into the package; in a checkout they are beside it.
if not (Path(__file__).parent / "engines").is_dir():
    __path__.append(str(Path(__file__).parent.parent))

_MODULES = {
    "ClassifyResult": "tasks.classify.model_result",
    "DetectResult": "tasks.detect.model_result",
    "FeaturesResult": "tasks.features.model_result",
    "Limits": "data.decode",
    "Model": "interface.model",
    "Result": "tasks.model_result",
    "SegmentResult": "tasks.segment.model_result",
    "build": "interface.convert",
    "export": "interface.convert",
    "export_module": "interface.convert_module",
    "load": "interface.load",
}
__getattr__ = lazy_attributes(__name__, _MODULES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
