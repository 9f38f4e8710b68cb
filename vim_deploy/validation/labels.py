"""The labels of a validation set: from class folders, or from a table such as ImageNet's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vim_deploy.data.discover import Discovery
from vim_deploy.data.labels import Labels, by_folder, by_table, class_indices, folder_classes, read_table
from vim_deploy.errors import ImageError
from vim_deploy.text import plural
from vim_deploy.text_files import read_text


@dataclass(frozen=True)
class LabelSource:
    """Where labels come from.

    `labels` is "folder", "sorted" (see `vim_deploy.data.discover.Labels`), or a file with one line
    per image: its name and its class, separated by a comma or spaces; a class is an index, a name
    or a synset. `synsets` is a file whose i-th line starts with the synset of class i. `limit`: use only the
    first labeled images.
    """

    labels: str
    synsets: Path | None = None
    limit: int | None = None


def labeled_images(
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
        label_of = by_folder(folder_classes(images, Labels(source.labels), names))
    else:
        indices = class_indices(class_names) | class_indices(names)
        label_of = by_table(read_table(Path(source.labels), names, indices))
    found = [(item.path, item.label) for item in Discovery(images, label_of)]
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


def _lines(path: Path) -> list[str]:
    return [line for line in read_text(path, ImageError).splitlines() if line.strip()]
