"""The labels of a run: where they come from, and whether its images have any."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from vim_deploy.data.discover import Item
from vim_deploy.data.labels import (
    LabelOf,
    Labels,
    by_folder,
    by_shard,
    by_table,
    class_indices,
    folder_classes,
    read_table,
)
from vim_deploy.data.shards import LABEL_FIELDS
from vim_deploy.engines.open import OpenEngine
from vim_deploy.errors import EngineError, ImageError
from vim_deploy.pipeline.options import InferenceOptions
from vim_deploy.tasks.registry import TASKS
from vim_deploy.text import plural

_log = logging.getLogger("vim_deploy")


@dataclass(frozen=True)
class RunLabels:
    """`label_of` an image; `values`: class indices by folder, or by image in a table."""

    label_of: LabelOf = lambda path: None
    values: Mapping[str, int] = field(default_factory=dict)


def labels_of(options: InferenceOptions, engine: OpenEngine) -> RunLabels:
    """Raises EngineError for a task without labels, and ImageError for labels that do not fit the classes."""
    given, spec = options.labels, TASKS.get(engine.metadata.task)
    if not spec.labeled:
        if given in (Labels.AUTO, Labels.NONE):
            return RunLabels()
        raise EngineError(
            f"--labels needs a model for classification; {engine.path} is for the task {spec.name}. Leave it "
            "out."
        )
    names = engine.class_names
    if not isinstance(given, Labels):
        table = read_table(given, names, class_indices(names))
        _log.info("labels: from %s (%s)", given, plural(len(table), "image"))
        return RunLabels(by_table(table), table)
    if given is Labels.SHARDS:
        _log.info("labels: those in tar and Parquet files")
        return RunLabels(by_shard(options.label_field, names))
    classes = folder_classes(options.inputs, given, names)
    if given is Labels.AUTO and classes and engine.metadata.class_names is None:
        _log.info(
            "labels: none, because the engine has no class names; if the folders are class indices, use "
            "--labels folder"
        )
        return RunLabels()
    if classes:
        count = plural(len(set(classes.values())), "class", "classes")
        _log.info("labels: the folder of an image is its class (%s)", count)
    return RunLabels(by_folder(classes), classes)


def require_labels(options: InferenceOptions, items: Iterable[Item] | None) -> None:
    """Raises ImageError if labels are given for which none of the items has a label.

    `items` None: they are not known yet.
    """
    if options.labels in (Labels.AUTO, Labels.NONE) or items is None:
        return
    if not any(item.label is not None for item in items):
        given = options.labels.value if isinstance(options.labels, Labels) else options.labels
        raise ImageError(f"--labels {given}: none of the images has a label; expected {_expected(options)}.")


def _expected(options: InferenceOptions) -> str:
    if not isinstance(options.labels, Labels):
        return "a table that has these images"
    if options.labels is not Labels.SHARDS:
        return "images in folders named like a class of the model"
    field = options.label_field
    if field is not None:
        return f"tar files with JSON files that have a field {field!r}, or Parquet files with such a column"
    return (
        "tar files with KEY.cls or KEY.json for each image KEY.jpg, or Parquet files with a column named "
        f"{' or '.join(LABEL_FIELDS)} (or the one that --label-field names), with classes of the model"
    )
