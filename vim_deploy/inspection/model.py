"""The part of a description that engines and ONNX files share: the exported model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vim_deploy.engines.tensors import TensorSpec
from vim_deploy.files import sha256_of_file
from vim_deploy.metadata import ModelMetadata
from vim_deploy.tasks.registry import TASKS


def describe_file(kind: str, path: str) -> dict[str, Any]:
    """Its kind, path, size and hash."""
    return {"kind": kind, "path": path, "bytes": Path(path).stat().st_size, "sha256": sha256_of_file(path)}


def describe_model(metadata: ModelMetadata, outputs: Sequence[TensorSpec]) -> dict[str, Any]:
    """The metadata, with the number of classes; None for a task without classes."""
    return {**metadata.to_dict(), "class_count": class_count(metadata, outputs)}


def class_count(metadata: ModelMetadata, outputs: Sequence[TensorSpec]) -> int | None:
    """The number of classes; None for a task without classes, and for a number that the graph leaves open."""
    if metadata.class_names is not None:
        return len(metadata.class_names)
    spec = TASKS.get(metadata.task)
    if spec.class_count is not None:
        return spec.class_count(metadata.config)
    if spec.class_axis is None:
        return None
    return next(item for item in outputs if item.name == spec.primary_output).shape[spec.class_axis]
