"""Text and JSON files that a user gives, with or without byte-order mark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vim_deploy.errors import ConfigError, VimDeployError, os_errors


def read_text(path: Path, error: type[VimDeployError] = ConfigError) -> str:
    """Raises `error` for a file that cannot be read, and for bytes that are not UTF-8."""
    try:
        with os_errors(error, f"{path} cannot be read"):
            return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as problem:
        raise error(f"{path} is not UTF-8 text: {problem}.") from None


def read_json(path: Path) -> Any:
    """Raises ConfigError for a file that cannot be read or is not JSON."""
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid JSON: {error}; correct the file.") from None
