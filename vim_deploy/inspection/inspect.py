"""Recognizes a file and describes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from vim_deploy.engines.container import ENGINE_FILE
from vim_deploy.errors import ConfigError, EngineError, os_errors
from vim_deploy.files import open_regular
from vim_deploy.metadata import EXPORTED_FILE

_HUB = "hf://"


def inspect(source: str) -> dict[str, Any]:
    """The contents of a file as plain JSON; `source` is a path, or a checkpoint's name on the hub.

    Every description has `kind` ("engine", "onnx" or "checkpoint"), `path`, `bytes`, `sha256` and `model`;
    see the modules of this package for the other keys. Files are checked as when they are used: raises
    EngineError, CheckpointError or ConfigError for a file that is damaged or of another kind, and
    MissingDependencyError for a checkpoint without PyTorch.
    """
    kind = kind_of(source)
    if kind == "engine":
        from vim_deploy.inspection.engine import describe_engine

        return describe_engine(source)
    if kind == "onnx":
        from vim_deploy.inspection.onnx_file import describe_onnx

        return describe_onnx(source)
    return _checkpoint(source)


def kind_of(source: str) -> Literal["engine", "onnx", "checkpoint"]:
    """What a file is by its name and its first bytes. Raises ConfigError or EngineError if it is neither."""
    if source.startswith(_HUB):
        return "checkpoint"
    path = Path(source)
    if path.is_dir():
        raise ConfigError(f"{source} is a folder; give an engine, an ONNX file or a checkpoint.")
    with os_errors(EngineError, f"{source} cannot be read"), open_regular(path) as file:
        head = file.read(1)
    if not head:
        raise ConfigError(f"{source} is empty; give an engine, an ONNX file or a checkpoint.")
    if path.suffix.lower() == ".engine" or ENGINE_FILE.matches(path):
        return "engine"
    is_onnx = path.suffix.lower() == ".onnx" or EXPORTED_FILE.matches(path)
    return "onnx" if is_onnx else "checkpoint"


def _checkpoint(source: str) -> dict[str, Any]:
    from vim_deploy.inspection.checkpoint import describe_checkpoint

    return describe_checkpoint(source)
