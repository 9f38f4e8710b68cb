"""Files that describe a model: class names and preprocessing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vim_deploy.data.preprocess import Preprocessing
from vim_deploy.errors import ConfigError


def read_class_names(path: Path) -> tuple[str, ...]:
    """Names from a file: one per line, a JSON list, or a JSON object's `class_names`. Raises ConfigError."""
    if path.suffix.lower() != ".json":
        return tuple(line.strip() for line in _read_text(path).splitlines() if line.strip())
    values = _read_json(path)
    names = values.get("class_names") if isinstance(values, dict) else values
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(
            f"{path} has no class names; expected a JSON list of strings, or an object with such a list "
            "as `class_names`."
        )
    return tuple(names)


def read_preprocessing(path: Path) -> Preprocessing:
    """Preprocessing from a JSON object, or from its `preprocessing`. Raises ConfigError."""
    values = _read_json(path)
    inner = values.get("preprocessing", values) if isinstance(values, dict) else values
    if not isinstance(inner, dict):
        raise ConfigError(f"{path} has no preprocessing; expected a JSON object.")
    try:
        return Preprocessing.from_dict(inner)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(_read_text(path))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid JSON: {error}; correct the file.") from None


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as UTF-8 text: {error}.") from None
