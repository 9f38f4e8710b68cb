"""Reads annotation files in COCO's format and checks them against the model's classes."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from vim_deploy.errors import ConfigError, os_errors
from vim_deploy.text import listed

_log = logging.getLogger("vim_deploy")
_LISTS = ("images", "annotations", "categories")
_REQUIRED = {
    "images": ("id", "file_name"),
    "annotations": ("id", "image_id", "category_id", "bbox"),
    "categories": ("id", "name"),
}


@dataclass(frozen=True)
class Annotations:
    """`content` in the form that pycocotools reads. `image_ids`: by file name without folders.
    `category_ids`: of each of the model's classes, None for a class that the file does not have."""

    path: Path
    content: dict[str, Any]
    image_ids: dict[str, int]
    category_ids: tuple[int | None, ...]


def read_annotations(path: Path, class_names: Sequence[str]) -> Annotations:
    """Raises ConfigError for a file that is not in COCO's format or has classes that the model lacks."""
    content = _json(path)
    for name in _LISTS:
        _check_list(path, content, name)
    for number, entry in enumerate(content["annotations"]):
        _check_box(path, number, entry["bbox"])
    used = {entry["category_id"] for entry in content["annotations"]}
    ids = {entry["name"]: entry["id"] for entry in content["categories"]}
    if unknown := sorted(used - set(ids.values()), key=str):
        raise ConfigError(
            f"--annotations {path} has annotations of the categories {listed(unknown)}, which are not "
            "in its list of categories."
        )
    foreign = [name for name, number in ids.items() if number in used and name not in class_names]
    if foreign:
        raise ConfigError(
            f"--annotations {path} has annotations of {listed(foreign)}, which are not classes of the "
            f"model; its classes are {listed(class_names)}. Give the annotations of the model's data set, or "
            "export the model with the right --class-names."
        )
    if missing := [name for name in class_names if name not in ids]:
        _log.warning(
            "%s has no category %s; objects of these classes are not evaluated",
            path,
            listed(missing),
        )
    _fill_defaults(content)
    category_ids = tuple(ids.get(name) for name in class_names)
    return Annotations(path, content, _image_ids(path, content["images"]), category_ids)


def _json(path: Path) -> dict[str, Any]:
    try:
        with os_errors(ConfigError, f"--annotations {path} cannot be read"):
            content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        empty = not path.stat().st_size
        raise ConfigError(
            f"--annotations {path} is {'empty' if empty else f'not JSON ({error})'}; expected COCO's format: "
            "an object with images, annotations and categories."
        ) from None
    if not isinstance(content, dict):
        raise ConfigError(
            f"--annotations {path} contains a {type(content).__name__}; expected COCO's format: an object "
            "with images, annotations and categories (a list contains detection results, not annotations)."
        )
    return content


def _check_list(path: Path, content: dict[str, Any], name: str) -> None:
    entries = content.get(name)
    if not isinstance(entries, list) or not entries:
        raise ConfigError(
            f"--annotations {path} has no {name}: the list is {'empty' if entries == [] else 'missing'}; "
            "expected COCO's format with at least one."
        )
    for number, entry in enumerate(entries):
        missing = [key for key in _REQUIRED[name] if not isinstance(entry, dict) or key not in entry]
        if missing:
            raise ConfigError(f"--annotations {path}: {name}[{number}] has no {missing[0]!r}.")


def _check_box(path: Path, number: int, box: Any) -> None:
    valid = isinstance(box, list) and len(box) == 4 and all(type(side) in (int, float) for side in box)
    if not valid or not all(map(math.isfinite, box)):
        raise ConfigError(
            f"--annotations {path}: annotations[{number}] has the bbox {box!r:.100}; expected left, top, "
            "width and height in pixels."
        )


def _fill_defaults(content: dict[str, Any]) -> None:
    """Fields that pycocotools reads and files may omit."""
    for entry in content["annotations"]:
        entry.setdefault("iscrowd", 0)
        entry.setdefault("area", entry["bbox"][2] * entry["bbox"][3])


def _image_ids(path: Path, images: list[dict[str, Any]]) -> dict[str, int]:
    ids: dict[str, int] = {}
    for entry in images:
        name = PurePosixPath(entry["file_name"]).name
        if name in ids:
            raise ConfigError(
                f"--annotations {path} has two images named {name}; images are matched by file name."
            )
        ids[name] = entry["id"]
    return ids
