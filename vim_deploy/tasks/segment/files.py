"""The files of a run that segments: label maps, overlays, a table of areas; the comparison with truth."""

from __future__ import annotations

import csv
import dataclasses
import io
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vim_deploy.dense.ade20k import ADE20K_CLASSES
from vim_deploy.errors import ConfigError, ImageError, OutputError
from vim_deploy.prediction import Prediction
from vim_deploy.results import Row
from vim_deploy.results.escape import escape
from vim_deploy.tasks.image_files import ImageFiles, write_whole
from vim_deploy.tasks.segment.figures import SegmentFigures
from vim_deploy.tasks.segment.ground_truth import Truth, Values, agreement
from vim_deploy.tasks.segment.options import SegmentOptions
from vim_deploy.tasks.segment.visualization import label_map_png, overlay_jpeg

_log = logging.getLogger("vim_deploy")
_MAP, _OVERLAY = ".png", ".jpg"


class SegmentFiles:
    """Each image's files are written, whole, before its row is.

    Raises OutputError for places that cannot be written.
    """

    def __init__(self, options: SegmentOptions, class_names: Sequence[str], inputs: Sequence[str]) -> None:
        self._options, self._names = options, tuple(class_names)
        self._files = ImageFiles(inputs)
        self.figures = SegmentFigures(self._names)
        self._truth: Truth | None = None
        if options.truth is not None:
            self._truth = Truth(options.truth, self._values(), options.ignored)
            classes = range(self._truth.values.offset, self._truth.values.offset + len(self._names))
            if options.ignored in classes:
                raise ConfigError(
                    f"--ignore {options.ignored} is the true value of the class "
                    f"{self._names[options.ignored - classes[0]]!r}; give a value that no class has."
                )

    def _values(self) -> Values:
        if self._options.truth_values is not None:
            return self._options.truth_values
        return Values.FROM_ONE if self._names == ADE20K_CLASSES else Values.PLAIN

    def identity(self) -> dict[str, Any]:
        options = self._options
        folders = {"maps": options.maps, "overlays": options.overlays, "truth": options.truth}
        values: dict[str, Any] = {
            name: None if path is None else escape(os.fspath(path)) for name, path in folders.items()
        }
        if self._truth is not None:
            values |= {"truth_values": self._truth.values.value, "ignore": self._truth.ignored}
        return values

    def begin(self) -> None:
        """Raises OutputError for folders that cannot be what they are asked to be."""
        for option in ("maps", "overlays"):
            folder: Path | None = getattr(self._options, option)
            if folder is not None:
                self._files.make_folder(f"--{option}", folder)
        if self._truth is not None:
            if not self._truth.folder.is_dir():
                raise OutputError(
                    f"--truth {self._truth.folder} is no folder; give the folder that has the label maps."
                )
            meaning = {
                Values.FROM_ONE: "0 is not labelled, 1 is the first class (as in ADE20K)",
                Values.PLAIN: "0 is the first class",
            }[self._truth.values]
            _log.info("true label maps: %s, %d is not labelled", meaning, self._truth.ignored)

    def row(self, prediction: Prediction) -> Row:
        """Write what belongs to the prediction; an error row where something of it cannot be right."""
        row = Row.of(prediction, self._names)
        if prediction.segments is None:
            return row
        name = self._files.name(prediction.path or "")
        try:
            if self._options.maps is not None or self._options.overlays is not None:
                self._files.claim(name, row.path)
            if self._truth is not None and prediction.size is not None:
                true = self._truth.of(name, prediction.size, len(self._names))
                found = prediction.segments.labels
                row = dataclasses.replace(row, agreement=agreement(found, true, len(self._names)))
        except ImageError as error:
            return dataclasses.replace(row, status="error", reason=str(error), areas=())
        segments, classes = prediction.segments, len(self._names)
        if self._options.maps is not None:
            write_whole(self._options.maps / f"{name}{_MAP}", label_map_png(segments.labels, classes))
        if self._options.overlays is not None:
            picture = overlay_jpeg(segments.seen, segments.labels, classes)
            write_whole(self._options.overlays / f"{name}{_OVERLAY}", picture)
        return row

    def count(self, row: Row) -> None:
        if row.status == "ok":
            self._files.remember(row.path)
        self.figures.count(row)

    def finish(self) -> None:
        """Write the table of areas."""
        if self._options.areas is None:
            return
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.figures.COLUMNS)
        writer.writerows(self.figures.table())
        write_whole(self._options.areas, text.getvalue().encode())
