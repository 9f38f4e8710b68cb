"""The true classes of images: from the names of their folders, from a table, or from shards."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path, PurePath
from typing import TypeAlias

from vim_deploy.data.remote_search import subfolders_at
from vim_deploy.data.shards import label_in_shard
from vim_deploy.errors import ImageError
from vim_deploy.files import is_folder
from vim_deploy.imagenet import IMAGENET_NAMES, SYNSETS
from vim_deploy.storage import is_url
from vim_deploy.text import plural
from vim_deploy.text_files import read_text


class UnknownLabel(str, Enum):
    """Why an image has no label although its shard should have one; a flag of its row."""

    MISSING = "label_missing"
    INVALID = "label_invalid"  # damaged, or not a class of the model


# From an image's path to the index of its true class, None if it is not known.
LabelOf: TypeAlias = Callable[[str], "int | UnknownLabel | None"]
_HEADINGS = ("imageid", "image", "image_id", "path", "file", "filename", "file_name", "name")


class Labels(str, Enum):
    """The source of an image's true class, if it is not a table."""

    AUTO = "auto"  # FOLDER if all subfolders of all input folders have names of classes, else NONE
    NONE = "none"
    FOLDER = "folder"  # the name of the image's folder is the name of its class
    SORTED = "sorted"  # the i-th subfolder of the input folder, sorted by name, is class i
    SHARDS = "shards"  # stored with the images in tar and Parquet files


def class_indices(class_names: Sequence[str]) -> dict[str, int]:
    """The index of each name that only one class has; for the classes of ImageNet-1k also of each synset."""
    counts = Counter(class_names)
    indices = {name: index for index, name in enumerate(class_names) if counts[name] == 1}
    if tuple(class_names) == IMAGENET_NAMES:
        indices |= {synset: index for index, synset in enumerate(SYNSETS)}
    return indices


def folder_classes(
    inputs: Sequence[str | os.PathLike[str]], labels: Labels, class_names: Sequence[str]
) -> dict[str, int]:
    """Class indices by folder name; empty if there are no labels.

    Raises ImageError if the folders do not match the classes with FOLDER or SORTED.
    """
    if labels is Labels.NONE:
        return {}
    by_name = class_indices(class_names)
    found = {name for folder in inputs for name in _subfolders(folder)}
    if labels is Labels.SORTED:
        if len(found) != len(class_names):
            raise ImageError(
                "--labels sorted needs one subfolder for each of the "
                f"{plural(len(class_names), 'class', 'classes')}; the inputs have {len(found)}."
            )
        return {name: index for index, name in enumerate(sorted(found))}
    unknown = sorted(found - by_name.keys())
    if labels is Labels.AUTO:
        return by_name if found and not unknown else {}
    if unknown:
        raise ImageError(
            f"--labels folder: {plural(len(unknown), 'folder')} without the name of exactly one class of the "
            f"model (first: {unknown[0]!r}; the first classes are {list(class_names[:3])}). Rename them, or "
            "use --labels sorted or none."
        )
    return by_name


def by_folder(classes: Mapping[str, int]) -> LabelOf:
    """Labels from the names of the images' folders."""
    return lambda path: classes.get(PurePath(path).parent.name)


def by_table(table: Mapping[str, int]) -> LabelOf:
    """Labels from the result of `read_table`.

    An image has the label of the longest end of its absolute path that the table has, with or without the
    suffix of its name. Paths in a table can thus be relative to any folder above the images.
    """

    def label_of(path: str) -> int | None:
        parts = PurePath(os.path.abspath(path)).parts  # noqa: PTH100 - Path.absolute keeps ".."
        bare = (*parts[:-1], PurePath(path).stem)
        for start in range(len(parts)):
            for ending in (parts[start:], bare[start:]):
                if (label := table.get(str(PurePath(*ending)))) is not None:
                    return label
        return None

    return label_of


def by_shard(name: str | None, class_names: Sequence[str]) -> LabelOf:
    """Labels that are stored with the images in tar and Parquet files.

    `name`: the column or JSON field, see `label_in_shard`. A number is the index of a class, and -1
    means no label; a text is a class name, a synset or an index.
    """
    count, indices = len(class_names), class_indices(class_names)

    def label_of(path: str) -> int | UnknownLabel:
        try:
            value = label_in_shard(path, name)
        except ImageError:
            return UnknownLabel.INVALID
        if value is None or value in (-1, "-1"):
            return UnknownLabel.MISSING
        if isinstance(value, float) and value.is_integer():  # integers with missing values in pandas
            value = int(value)
        index = value if type(value) is int else None
        if isinstance(value, str):
            index = _class_in([value], count, indices)
        return index if index is not None and 0 <= index < count else UnknownLabel.INVALID

    return label_of


def read_table(path: Path, class_names: Sequence[str], indices: Mapping[str, int]) -> dict[str, int]:
    """Class indices by image, from a file with a line IMAGE,CLASS (or IMAGE CLASS) for each image.

    A class is a key of `indices`, or an index. The first line may be a heading. Raises ImageError for a line
    without a known class, and for an image with two classes.
    """
    table: dict[str, int] = {}
    lines = [line for line in read_text(path, ImageError).splitlines() if line.strip()]
    for number, line in enumerate(lines, 1):
        cells = next(csv.reader([line])) if "," in line else line.split(maxsplit=1)
        image, label = cells[0].strip(), _class_in(cells[1:], len(class_names), indices)
        if label is None and number == 1 and image.lower() in _HEADINGS:
            continue
        if label is None or not image:
            raise ImageError(
                f"{path}, line {number}: {line[:80]!r} has no known class; expected IMAGE,CLASS, where CLASS "
                "is a class name of the model, its index, or a synset."
            )
        if table.setdefault(os.path.normpath(image), label) != label:
            raise ImageError(f"{path}, line {number}: {image[:80]!r} has another class in an earlier line.")
    return table


def _class_in(cells: Sequence[str], count: int, indices: Mapping[str, int]) -> int | None:
    text = cells[0].strip() if cells else ""
    # Kaggle's table of ImageNet has a box after the synset: "ILSVRC2012_val_1,n03995372 85 1 499 272".
    for name in (text, *text.split()[:1]):
        if name in indices:
            return indices[name]
        if name.isdecimal() and int(name) < count:
            return int(name)
    return None


def _subfolders(folder: str | os.PathLike[str]) -> list[str]:
    if is_url(os.fspath(folder)):
        return subfolders_at(os.fspath(folder))
    if not is_folder(folder):
        return []
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.name[0] != "." and is_folder(entry.path)]
    except OSError:
        return []  # reported by the search
