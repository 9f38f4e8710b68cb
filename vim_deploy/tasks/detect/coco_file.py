"""Writes result files in COCO's format. Rows are spooled to disk, so that any number fits."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

from vim_deploy.dense.coco import COCO_IDS, COCO_NAMES
from vim_deploy.files import atomic_write
from vim_deploy.results.escape import unescaped_path
from vim_deploy.results.row import Row
from vim_deploy.tasks.detect.annotations import Annotations


class CocoFile:
    """The results of a run, in an unnamed temporary file until they are written or evaluated."""

    def __init__(self, class_names: Sequence[str], annotations: Annotations | None) -> None:
        self._annotations = annotations
        if annotations is not None:
            self._category_ids: Sequence[int | None] = annotations.category_ids
        elif tuple(class_names) == COCO_NAMES:
            self._category_ids = COCO_IDS
        else:
            self._category_ids = range(1, len(class_names) + 1)
        self._file = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 (open during the run)
        self.evaluated: list[int] = []  # ids of the annotated images that have a row

    def add(self, row: Row) -> None:
        """Add the row's objects, except those whose category or image is not in the annotations."""
        image_id = self._image_id(unescaped_path(row.path))
        if image_id is None or row.status != "ok":
            return
        if self._annotations is not None:
            self.evaluated.append(int(image_id))
        for found in row.result:
            category = self._category_ids[found.index]
            if category is None:
                continue
            left, top, right, bottom = found.box
            result = {
                "image_id": image_id,
                "category_id": category,
                "bbox": [left, top, round(right - left, 3), round(bottom - top, 3)],
                "score": found.score,
                "segmentation": {"size": [row.height, row.width], "counts": found.rle},
            }
            self._file.write(json.dumps(result) + "\n")

    def _image_id(self, path: str) -> int | str | None:
        name = PurePath(path).name
        if self._annotations is not None:
            return self._annotations.image_ids.get(name)
        stem = PurePath(path).stem
        return int(stem) if stem.isdecimal() and stem.isascii() else name

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self._file.seek(0)
        for line in self._file:
            yield json.loads(line)
        self._file.seek(0, 2)

    def write(self, path: Path) -> None:
        """Write all results as one JSON list, atomically. Raises OSError."""
        with atomic_write(path) as file:
            separator = b"[\n"
            for result in self:
                file.write(separator + json.dumps(result).encode())
                separator = b",\n"
            file.write(b"[]\n" if separator == b"[\n" else b"\n]\n")
