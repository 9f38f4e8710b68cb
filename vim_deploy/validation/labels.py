"""The true classes of a validation set: from class folders, or from a table as ImageNet has it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vim_deploy.data.discover import Discovery, Labels, folder_classes
from vim_deploy.errors import ImageError


@dataclass(frozen=True)
class LabelSource:
    """Where labels come from.

    `labels` is "folder", "sorted" (see `vim_deploy.data.discover.Labels`), or a file with one line
    per image: its name and its class, separated by a comma or blanks; a class is an index, a name
    or a synset. `synsets` is a file whose line i begins with the synset of class i.
    """

    labels: str
    synsets: Path | None = None
    limit: int | None = None


def labelled_images(
    images: Sequence[str], source: LabelSource, class_names: Sequence[str]
) -> list[tuple[str, int]]:
    """Paths with their class index. Raises ImageError where labels and classes do not fit each other."""
    names = read_synsets(source.synsets) if source.synsets else list(class_names)
    if source.synsets and class_names and len(names) != len(class_names):
        raise ImageError(
            f"{source.synsets} names {len(names)} classes, the model has {len(class_names)}; "
            "give one line per class, in the order of the model's classes."
        )
    if source.labels in (Labels.FOLDER.value, Labels.SORTED.value):
        classes = folder_classes(images, Labels(source.labels), names)
        found = [(item.path, item.label) for item in Discovery(images, classes)]
    else:
        table = read_table(Path(source.labels), names)
        found = [(item.path, _of_image(table, item.path)) for item in Discovery(images)]
    known = [(path, label) for path, label in found if label is not None]
    if not known:
        raise ImageError(f"no image in {', '.join(images)} has a label by {source.labels}.")
    return known[: source.limit]


def read_synsets(path: Path) -> list[str]:
    """The first word of each line: `n01440764 tench, Tinca tinca` is class 0 in ImageNet's list."""
    return [line.split()[0] for line in _lines(path)]


def read_table(path: Path, names: Sequence[str]) -> dict[str, int]:
    """Image names, without ending, to class indices. Raises ImageError naming a line that does not fit."""
    index_of = {name: index for index, name in enumerate(names)}
    table = {}
    for number, line in enumerate(_lines(path), 1):
        # Kaggle's table has boxes after the synset: "ILSVRC2012_val_1,n03995372 85 1 499 272".
        words = [word for word in re.split(r"[,\s]+", line) if word]
        if number == 1 and words[:1] == ["ImageId"]:
            continue
        label = index_of.get(words[1]) if len(words) > 1 else None
        if label is None and len(words) > 1 and words[1].isdecimal() and int(words[1]) < len(names):
            label = int(words[1])
        if label is None:
            raise ImageError(
                f"{path}, line {number}: {line[:80]!r} names no image with a known class; expected IMAGE "
                "CLASS, the class an index, a name of the model's classes, or a synset (with --synsets)."
            )
        table[Path(words[0]).stem] = label
    return table


def _of_image(table: dict[str, int], path: str) -> int | None:
    return table.get(Path(path).stem)


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ImageError(f"{path} cannot be read as text: {error}.") from None
