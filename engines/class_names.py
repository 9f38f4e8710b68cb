"""The class names of a model with and without names."""

from __future__ import annotations

from collections.abc import Sequence

from vim_deploy.engines.tensors import TensorSpec
from vim_deploy.metadata import ModelMetadata
from vim_deploy.tasks.registry import TASKS


def class_names_of(metadata: ModelMetadata, outputs: Sequence[TensorSpec]) -> tuple[str, ...]:
    """Names of the classes; their indices if the model has no names. `outputs`: those of the network."""
    if metadata.class_names is not None:
        return metadata.class_names
    task, count = TASKS.get(metadata.task), 0
    if task.class_count is not None:
        count = task.class_count(metadata.config)
    elif task.class_axis is not None:
        primary = next(spec for spec in outputs if spec.name == task.primary_output)
        count = primary.shape[task.class_axis] or 0
    return tuple(map(str, range(count)))
