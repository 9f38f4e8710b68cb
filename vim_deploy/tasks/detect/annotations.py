"""Annotation files of COCO's format: read with suspicion, and held against the model's classes."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from vim_deploy.errors import ConfigError

_log = logging.getLogger("vim_deploy")
_LISTS = ("images", "annotations", "categories")
_NEEDED = {
    "images": ("id", "file_name"),
    "annotations": ("id", "image_id", "category_id", "bbox"),
    "categories": ("id", "name"),
}
_NAMES_SHOWN = 5


@dataclass(frozen=True)
class Annotations:
    """`content` as pycocotools wants it. `image_ids`: by file name without folders. `category_ids`: of each
    of the model's classes, None for one that the file does not have."""

    path: Path
    content: dict[str, Any]
    image_ids: dict[str, int]
    category_ids: tuple[int | None, ...]


def read_annotations(path: Path, class_names: Sequence[str]) -> Annotations:
    """Raises ConfigError naming the file and what is wrong with it."""
    content = _json(path)
    for name in _LISTS:
        _check_list(path, content, name)
    used = {entry["category_id"] for entry in content["annotations"]}
    ids = {entry["name"]: entry["id"] for entry in content["categories"]}
    if unknown := sorted(used - set(ids.values()), key=str):
        raise ConfigError(
            f"{path}: annotations of the categories {_some(unknown)}, which its list of categories lacks."
        )
    foreign = [name for name, number in ids.items() if number in used and name not in class_names]
    if foreign:
        raise ConfigError(
            f"{path} has annotations of {_some(foreign)}, which the model does not know; its classes are "
            f"{_some(class_names)}. Give the annotations that belong to the model, or export it with the "
            "right --class-names."
        )
    if missing := [name for name in class_names if name not in ids]:
        _log.warning("%s has no category %s: found objects of it are not judged", path, _some(missing))
    _fill(content)
    category_ids = tuple(ids.get(name) for name in class_names)
    return Annotations(path, content, _image_ids(path, content["images"]), category_ids)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--annotations {path} cannot be read: {error.strerror or error}.") from None
    except (ValueError, RecursionError) as error:
        empty = not path.stat().st_size
        raise ConfigError(
            f"--annotations {path} is {'empty' if empty else f'not JSON ({error})'}; expected COCO's format: "
            "an object with images, annotations and categories."
        ) from None
    if not isinstance(content, dict):
        raise ConfigError(
            f"--annotations {path} holds a {type(content).__name__}; expected COCO's format: an object with "
            "images, annotations and categories (results of a detector are a list)."
        )
    return content


def _check_list(path: Path, content: dict[str, Any], name: str) -> None:
    entries = content.get(name)
    if not isinstance(entries, list) or not entries:
        raise ConfigError(
            f"--annotations {path} has no {name}: the list is {'empty' if entries == [] else 'missing'}. "
            "Expected COCO's format with at least one."
        )
    for number, entry in enumerate(entries):
        lacking = [key for key in _NEEDED[name] if not isinstance(entry, dict) or key not in entry]
        if lacking:
            raise ConfigError(f"--annotations {path}: number {number} of {name} has no {lacking[0]!r}.")


def _fill(content: dict[str, Any]) -> None:
    """What pycocotools reads and files may leave out."""
    for entry in content["annotations"]:
        entry.setdefault("iscrowd", 0)
        entry.setdefault("area", entry["bbox"][2] * entry["bbox"][3])


def _image_ids(path: Path, images: list[dict[str, Any]]) -> dict[str, int]:
    ids: dict[str, int] = {}
    for entry in images:
        name = PurePosixPath(entry["file_name"]).name
        if name in ids:
            raise ConfigError(
                f"--annotations {path} has two images named {name}; images are told apart by their names."
            )
        ids[name] = entry["id"]
    return ids


def _some(names: Sequence[Any]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(str(name) for name in names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
