"""The labels of a validation set: from class folders, or from a table such as ImageNet's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vim_deploy.data.discover import Discovery, Labels, folder_classes
from vim_deploy.errors import ImageError
from vim_deploy.text import plural
from vim_deploy.text_files import read_text


@dataclass(frozen=True)
class LabelSource:
    """Where labels come from.

    `labels` is "folder", "sorted" (see `vim_deploy.data.discover.Labels`), or a file with one line
    per image: its name and its class, separated by a comma or spaces; a class is an index, a name
    or a synset. `synsets` is a file whose i-th line starts with the synset of class i. `limit`: use only the
    first labelled images.
    """

    labels: str
    synsets: Path | None = None
    limit: int | None = None


def labelled_images(
    images: Sequence[str], source: LabelSource, class_names: Sequence[str]
) -> list[tuple[str, int]]:
    """Image paths with class indices. Raises ImageError where the labels do not match the classes."""
    names = read_synsets(source.synsets) if source.synsets else list(class_names)
    if source.synsets and class_names and len(names) != len(class_names):
        raise ImageError(
            f"{source.synsets} lists {plural(len(names), 'class', 'classes')}, the model has "
            f"{len(class_names)}; expected one line per class, in the order of the model's classes."
        )
    if source.labels in (Labels.FOLDER.value, Labels.SORTED.value):
        classes = folder_classes(images, Labels(source.labels), names)
        found = [(item.path, item.label) for item in Discovery(images, classes)]
    else:
        table = read_table(Path(source.labels), names)
        found = [(item.path, table.get(Path(item.path).stem)) for item in Discovery(images)]
    known = [(path, label) for path, label in found if label is not None]
    if not known:
        raise ImageError(
            f"no image in {', '.join(images)} has a label in {source.labels!r}; expected class folders, or "
            "a table that lists these images."
        )
    return known[: source.limit]


def read_synsets(path: Path) -> list[str]:
    """The first word of each line, such as "n01440764" in "n01440764 tench, Tinca tinca"."""
    return [line.split()[0] for line in _lines(path)]


def read_table(path: Path, names: Sequence[str]) -> dict[str, int]:
    """Image names without suffix to class indices. Raises ImageError naming an invalid line."""
    index_of = {name: index for index, name in enumerate(names)}
    table = {}
    for number, line in enumerate(_lines(path), 1):
        # Kaggle's table has a box after the synset: "ILSVRC2012_val_1,n03995372 85 1 499 272".
        words = [word for word in re.split(r"[,\s]+", line) if word]
        if number == 1 and words[:1] == ["ImageId"]:
            continue
        label = index_of.get(words[1]) if len(words) > 1 else None
        if label is None and len(words) > 1 and words[1].isdecimal() and int(words[1]) < len(names):
            label = int(words[1])
        if label is None:
            raise ImageError(
                f"{path}, line {number}: {line[:80]!r} has no known class; expected IMAGE CLASS, where "
                "CLASS is an index, a class name of the model, or a synset (with --synsets)."
            )
        table[Path(words[0]).stem] = label
    return table


def _lines(path: Path) -> list[str]:
    return [line for line in read_text(path, ImageError).splitlines() if line.strip()]
