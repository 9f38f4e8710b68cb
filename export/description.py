"""Files that describe a model: preprocessing."""

from __future__ import annotations

from pathlib import Path

from vim_deploy.data.preprocess import Preprocessing
from vim_deploy.errors import ConfigError
from vim_deploy.text_files import read_json


def read_preprocessing(path: Path) -> Preprocessing:
    """Preprocessing from a JSON object, or from its `preprocessing`. Raises ConfigError."""
    values = read_json(path)
    inner = values.get("preprocessing", values) if isinstance(values, dict) else values
    if not isinstance(inner, dict):
        raise ConfigError(f"{path} has no preprocessing; expected a JSON object.")
    try:
        return Preprocessing.from_dict(inner)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
