"""Describes a checkpoint: the model that its tensors belong to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vim_deploy.errors import CheckpointError, MissingDependencyError, install_command
from vim_deploy.families.family import Family
from vim_deploy.families.registry import families
from vim_deploy.registry import load_object


def describe_checkpoint(source: str) -> dict[str, Any]:
    """`model`: its family, name, configuration, parameters and classes; `notes`: what is assumed about it.

    `source` is a path or a name on the hub. Raises CheckpointError for a file that is not a checkpoint or
    has the tensors of no known model, and MissingDependencyError without PyTorch.
    """
    try:
        from vim_deploy.model.kind import OtherKindError
        from vim_deploy.model.loading import LoadedCheckpoint, locate
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{source} is read as a checkpoint, which needs {error.name}; run "
            f"{install_command(error.name or '', 'export')}."
        ) from None
    path, _ = locate(source)
    loaded: LoadedCheckpoint[Any]
    for family in families():
        try:
            _, loaded = load_object(family.load)(path)
        except OtherKindError:
            continue
        return {
            "kind": "checkpoint",
            "path": source,
            "bytes": Path(path).stat().st_size,
            "sha256": loaded.sha256,
            "model": _model(family, loaded),
            "notes": [*loaded.notes, *family.notes_of(loaded.config)],
        }
    raise CheckpointError(f"{source} has the weights of a model that no registered family reads.")


def _model(family: Family, loaded: Any) -> dict[str, Any]:
    state = loaded.state_dict
    names = loaded.class_names
    return {
        "family": family.name,
        "variant": family.name_of(loaded.config),
        "kind": family.kind,
        "config": loaded.config.to_dict(),
        "key": loaded.key,
        "tensors": len(state),
        "parameters": sum(tensor.numel() for tensor in state.values()),
        "class_count": loaded.config.num_classes,
        "class_names": None if names is None else list(names),
    }
