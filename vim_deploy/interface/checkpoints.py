"""The cache of ONNX files that are exported when a checkpoint is loaded."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vim_deploy.engines.cache_folder import cache_subfolder, mark_used
from vim_deploy.errors import CheckpointError, ConfigError, os_errors
from vim_deploy.files import sha256_of, sha256_of_file
from vim_deploy.interface.convert import export
from vim_deploy.metadata import FORMAT
from vim_deploy.model.checkpoint_hub import PREFIX, WEIGHT_ENDINGS, download
from vim_deploy.ops.signature import CONTRACT_VERSION
from vim_deploy.package import VERSION

_log = logging.getLogger("vim_deploy")
_OWN = ("checkpoint", "output", "force")  # options of `export` that are not the caller's
_DEFAULT_TASK = "classify"


def is_checkpoint(name: str) -> bool:
    """Whether `name` is a hub name or has the suffix of a file with weights."""
    return name.startswith(PREFIX) or Path(name).suffix.lower() in WEIGHT_ENDINGS


def exported_checkpoint(name: str, task: str | None, options: Mapping[str, Any]) -> Path:
    """The ONNX file of a checkpoint: from the cache, otherwise exported into it.

    The name of a cache entry has a hash of the checkpoint and of everything else the export depends on.
    Raises what `export` raises, and EngineError if the cache cannot be written.
    """
    if own := [key for key in _OWN if key in options]:
        raise ConfigError(f"{own[0]!r} is not an option of load; call vim_deploy.export to write a file.")
    file, checkpoint = download(name) if name.startswith(PREFIX) else (Path(name), name)
    with os_errors(CheckpointError, f"{name} cannot be read"):
        content = sha256_of_file(file)
    parts = {
        "checkpoint": content,
        "name": checkpoint if name.startswith(PREFIX) else file.name,  # the metadata has it
        "task": task,
        "format": FORMAT,
        "operator": CONTRACT_VERSION,
        "tool": VERSION,
        "options": {key: _plain(key, value) for key, value in options.items()},
    }
    key = sha256_of(json.dumps(parts, sort_keys=True).encode())
    entry = cache_subfolder("exports") / f"{file.stem}-{key[:40]}.onnx"
    if entry.exists():
        mark_used(entry)
    else:
        _log.info("exporting %s into %s", name, entry.parent)
        _export(checkpoint, task, entry, dict(options))
    return entry


def _export(checkpoint: str, task: str | None, entry: Path, options: dict[str, Any]) -> None:
    from vim_deploy.export.model import OtherTaskError

    model = options.pop("model", "auto")
    settings = {**options, "checkpoint": checkpoint, "output": entry}
    try:
        result = export(model, **settings, task=task or _DEFAULT_TASK)
    except OtherTaskError as error:
        if task is not None or len(error.tasks) != 1:
            raise
        result = export(model, **settings, task=error.tasks[0])
    for note in result.notes:
        _log.warning("%s: %s", checkpoint, note)


def _plain(key: str, value: Any) -> Any:
    """The value of an option as JSON; for a file its content, on which the export depends."""
    if isinstance(value, Path) or (key in ("class_names", "preprocessing") and isinstance(value, str)):
        with os_errors(ConfigError, f"{key} {value} cannot be read"):
            return sha256_of_file(value)
    if isinstance(value, Mapping):
        return {str(name): _plain("", item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain("", item) for item in value]
    if value is None or isinstance(value, (str, int, float)):
        return value
    return repr(value)
