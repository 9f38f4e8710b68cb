"""Class names from files in the formats that other projects use."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vim_deploy.errors import ConfigError, MissingDependencyError
from vim_deploy.text import listed
from vim_deploy.text_files import read_json, read_text

FORMATS = (
    "one name per line; lines that start with a synset, such as timm's; a JSON list; JSON with class_names, "
    "id2label or index: [synset, name]; YAML with names, such as ultralytics'"
)
_SYNSET = re.compile(r"(n\d{8})(?:[\s,]+(.+))?")
_KEYS = ("class_names", "id2label", "names")


def read_class_names(path: Path) -> tuple[str, ...]:
    """Names in the order of a model's outputs, from a file in one of FORMATS.

    Raises ConfigError for another content, and MissingDependencyError for YAML without PyYAML.
    """
    suffix = path.suffix.lower()
    if suffix == ".json":
        names = _from_values(path, read_json(path))
    elif suffix in (".yaml", ".yml"):
        names = _from_values(path, _read_yaml(path))
    else:
        names = _from_lines([line.strip() for line in read_text(path).splitlines() if line.strip()])
    if not names:
        raise ConfigError(f"{path} has no class names; expected {FORMATS}.")
    return names


def _from_lines(lines: Sequence[str]) -> tuple[str, ...]:
    matches = [_SYNSET.fullmatch(line) for line in lines]
    if not all(matches):
        return tuple(lines)
    from vim_deploy.imagenet import IMAGENET_NAMES, SYNSETS

    known = dict(zip(SYNSETS, IMAGENET_NAMES, strict=True))
    return tuple(match[2] or known.get(match[1], match[1]) for match in matches if match)


def _from_values(path: Path, values: Any) -> tuple[str, ...]:
    if isinstance(values, Mapping):
        values = next((values[key] for key in _KEYS if key in values), values)
    if isinstance(values, Mapping):
        values = _in_order(path, values)
    if isinstance(values, list):
        # ImageNet's class index has [synset, name] for each class.
        values = [item[1] if isinstance(item, list) and len(item) == 2 else item for item in values]
        if all(isinstance(item, str) for item in values):
            return tuple(item.strip() for item in values)
    raise ConfigError(f"{path} has no class names; expected {FORMATS}.")


def _in_order(path: Path, values: Mapping[Any, Any]) -> list[Any]:
    """The values of {0: ..., 1: ...} or {"0": ..., "1": ...} by index. Raises ConfigError."""
    keys = {str(key): value for key, value in values.items()}
    expected = [str(index) for index in range(len(keys))]
    if missing := [key for key in expected if key not in keys]:
        raise ConfigError(
            f"{path} has no class names, or not all: there is no entry for {listed(missing)}; expected "
            f"{FORMATS}."
        )
    return [keys[key] for key in expected]


def _read_yaml(path: Path) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise MissingDependencyError(
            f"reading {path} needs PyYAML ({error}); install it with `pip install pyyaml`, or give the names "
            "one per line."
        ) from None
    try:
        return yaml.safe_load(read_text(path))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path} is not valid YAML: {reason[:300]}; correct the file.") from None
