"""Segmentation: whole images by windows of the network's size, label maps of the images' own size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from vim_deploy.data.loading import Loaded
from vim_deploy.data.preparation import Scaling
from vim_deploy.errors import EngineError
from vim_deploy.prediction import ClassArea, Prediction, Segments
from vim_deploy.results import Row
from vim_deploy.tasks.base import Task
from vim_deploy.tasks.options import TaskOptions
from vim_deploy.tasks.segment.axis import Axis
from vim_deploy.tasks.segment.files import SegmentFiles
from vim_deploy.tasks.segment.ground_truth import counted
from vim_deploy.tasks.segment.mapper import Logits, label_map
from vim_deploy.tasks.segment.memory import Needs, needs, readable
from vim_deploy.tasks.segment.options import OWN_SIZE

if TYPE_CHECKING:
    from vim_deploy.engines.open import OpenEngine

_LONG_TO_SHORT = 4  # of the size that images are scaled to fit: upstream's 2048 by 512
_STRIDE = 2 / 3  # of the window: upstream's 341 of 512
_MEGAPIXELS = (1, 10)  # for which memory is told where images keep their size
_WAITING = 2  # decoded images beside those that workers have
_DEFAULT_WIDTH = 192  # of a decode head that the file does not describe


@dataclass
class _Job:
    """One image under way: its sides, and the logits of its windows by row."""

    entry: Loaded
    rows: Axis
    columns: Axis
    bands: dict[int, list[Logits]] = field(default_factory=dict)
    finite: bool = True

    @property
    def flags(self) -> tuple[str, ...]:
        """`padded`: the scaled image is smaller than a window."""
        small = any(side.scaled < side.crop for side in (self.rows, self.columns))
        return ("padded",) if small else ()

    @property
    def windows(self) -> list[tuple[int, int]]:
        return [
            (down, across)
            for down in range(len(self.rows.starts))
            for across in range(len(self.columns.starts))
        ]


class Segment(Task):
    """A label map for each image, see docs/dense.md for the rules."""

    default_batch = 4

    def __init__(self, engine: OpenEngine, options: TaskOptions) -> None:
        super().__init__(engine)
        given = options.segment
        preprocessing = engine.metadata.preprocessing
        self._options, self._crop = given, preprocessing.image_size
        short = min(self._crop)
        scale = (_LONG_TO_SHORT * short, short) if given.scale is None else given.scale
        self.scale: tuple[int, int] | None = None if isinstance(scale, str) else scale
        self.preparation = Scaling(self.scale, preprocessing.channels)
        self.stride = tuple(
            round(side * _STRIDE) if given.stride is None else given.stride for side in self._crop
        )
        if not all(step <= side for step, side in zip(self.stride, self._crop, strict=True)):
            raise EngineError(
                f"--stride is {given.stride}; expected 1 to {short}, the side of the network's windows."
            )
        shape = [size or 0 for size in engine.output.shape[1:]]
        if len(shape) != 3 or 0 in shape:
            raise EngineError(
                f"{engine.path} gives {engine.output.name} of shape {engine.output.shape}; expected (batch, "
                "classes, height, width) with fixed sizes for a model that segments."
            )
        self._classes, *self._cells = shape
        self._width = _head_width(engine.metadata.config)
        self._files = SegmentFiles(given, engine.class_names, options.inputs)

    def chunk(self, batch: int) -> int:
        return 1

    def ahead(self, batch: int) -> int:
        return _WAITING

    # Images to label maps.

    def predict(self, loaded: Sequence[Loaded], batch: int) -> Iterator[Prediction]:
        """Windows of several images share batches, unless images are tiled."""
        jobs: list[_Job] = []
        waiting: list[Prediction | _Job] = []
        for entry in loaded:
            job = self._job(entry, batch)
            waiting.append(job)
            if isinstance(job, _Job):
                jobs.append(job)
            if sum(len(job.windows) for job in jobs) >= batch:
                yield from self._finished(waiting, jobs, batch)
                jobs, waiting = [], []
        yield from self._finished(waiting, jobs, batch)

    def _job(self, entry: Loaded, batch: int) -> Prediction | _Job:
        if entry.pixels is None or entry.size is None:
            return self.refused(entry)
        width, height = entry.size
        job = _Job(entry, *self._axes((height, width), entry.pixels.shape[:2]))
        needed = self._needs(job.rows, job.columns, batch).total
        if needed > self._options.memory:
            limit = readable(self._options.memory)
            other = "; --tile or a smaller --scale needs less, --max-memory allows more"
            if self._options.tile:
                other = "; a smaller --scale or --batch-size needs less, --max-memory allows more"
            return self.refused(
                entry, f"needs about {readable(needed)} of memory, more than the limit of {limit}{other}"
            )
        return job

    def _axes(self, own: tuple[int, int], scaled: tuple[int, ...]) -> tuple[Axis, Axis]:
        sides = zip(own, scaled, self._crop, self.stride, self._cells, strict=True)
        down, across = (Axis(*side) for side in sides)
        return down, across

    def _needs(self, rows: Axis, columns: Axis, batch: int) -> Needs:
        channels = self.engine.metadata.preprocessing.channels
        return needs(
            rows,
            columns,
            classes=self._classes,
            channels=channels,
            width=self._width,
            batch=batch,
            tile=self._options.tile,
        )

    def _finished(
        self, waiting: list[Prediction | _Job], jobs: list[_Job], batch: int
    ) -> Iterator[Prediction]:
        if not self._options.tile:
            self._run_windows([(job, *window) for job in jobs for window in job.windows], batch)
        for entry in waiting:
            if isinstance(entry, Prediction):
                yield entry
                continue
            prediction = self._prediction(entry, batch)
            entry.bands.clear()
            if not entry.finite:
                name = self.engine.output.name
                prediction = self.refused(entry.entry, f"the model gave NaN or infinite {name}")
            yield prediction

    def _prediction(self, job: _Job, batch: int) -> Prediction:
        entry = job.entry

        def bands(numbers: list[int]) -> dict[int, list[Logits]]:
            for passed in [number for number in job.bands if number < numbers[0]]:
                del job.bands[passed]
            across = range(len(job.columns.starts))
            missing = [
                (job, number, column) for number in numbers for column in across if number not in job.bands
            ]
            self._run_windows(missing, batch)
            return job.bands

        labels = label_map(job.rows, job.columns, self._classes, bands)
        assert entry.pixels is not None
        segments = Segments(labels, self._areas(labels), entry.pixels)
        path = entry.item.path if entry.item else None
        return Prediction(path, "ok", size=entry.size, flags=(*entry.flags, *job.flags), segments=segments)

    def _areas(self, labels: np.ndarray) -> tuple[ClassArea, ...]:
        """Largest first, ties in class order."""
        counts = counted(labels, self._classes)
        order = sorted(np.flatnonzero(counts), key=lambda index: -counts[index])
        names = self.engine.class_names
        return tuple(ClassArea(int(index), names[index], int(counts[index])) for index in order)

    def _run_windows(self, windows: list[tuple[_Job, int, int]], batch: int) -> None:
        """Put these windows' logits into their jobs, in rows from left to right."""
        for first in range(0, len(windows), batch):
            chosen = windows[first : first + batch]
            pixels = [self._pixels(job, down, across) for job, down, across in chosen]
            output = self.run(pixels, (self._classes, *self._cells))
            for (job, down, _), logits in zip(chosen, output, strict=True):
                if not np.isfinite(logits).all():
                    job.finite = False
                last = np.ascontiguousarray(logits.transpose(1, 2, 0), dtype=np.float32)
                job.bands.setdefault(down, []).append(last)

    def _pixels(self, job: _Job, down: int, across: int) -> np.ndarray:
        """A window, normalised; zeros beyond the image, which is the mean colour."""
        height, width = self._crop
        top, left = job.rows.starts[down], job.columns.starts[across]
        assert job.entry.pixels is not None
        values = job.entry.pixels[top : top + height, left : left + width]
        normalised = self.engine.metadata.preprocessing.normalise(values)
        beyond = [(0, 0), (0, height - values.shape[0]), (0, width - values.shape[1])]
        return np.pad(normalised, beyond) if any(after for _, after in beyond) else normalised

    # What a run adds.

    def identity(self) -> dict[str, Any]:
        return {
            "scale": OWN_SIZE if self.scale is None else list(self.scale),
            "stride": list(self.stride),
            "max_memory": self._options.memory,
            "tile": self._options.tile,
            **self._files.identity(),
        }

    def begin(self, batch: int, workers: int, report: Callable[[str], None]) -> None:
        self._files.begin()
        limit = f"images that need more than {readable(self._options.memory)} are refused"
        if self.scale is None:
            sides = [math.isqrt(megapixels * 10**6) for megapixels in _MEGAPIXELS]
            needed = [self._needs(*self._axes((side, side), (side, side)), batch).total for side in sides]
            told = ", ".join(
                f"{readable(count)} for a square image of {megapixels} megapixels"
                for megapixels, count in zip(_MEGAPIXELS, needed, strict=True)
            )
            report(f"memory: about {told}, beside the network itself; {limit}")
            return
        # The largest that --scale allows; its own size adds two bytes a pixel.
        long, short = max(self.scale), min(self.scale)
        rows, columns = self._axes((short, long), (short, long))
        most = self._needs(rows, columns, batch)
        waiting = (workers + _WAITING) * long * short * self.engine.metadata.preprocessing.channels
        report(
            f"memory: about {readable(most.total + waiting)} for images scaled to {long} x {short} "
            f"({readable(most.run)} for {batch} windows at once, {readable(most.windows)} for "
            f"{len(rows.starts) * len(columns.starts)} windows' logits), beside the network itself; {limit}"
        )

    def row(self, prediction: Prediction) -> Row:
        return self._files.row(prediction)

    def count(self, row: Row) -> None:
        self._files.count(row)

    def summary(self) -> dict[str, Any]:
        return self._files.figures.to_dict()

    def summary_lines(self) -> list[str]:
        return self._files.figures.lines()

    def finish(self) -> None:
        self._files.finish()


def _head_width(config: dict[str, Any]) -> int:
    """Only the estimate of memory depends on it, so a file that says nothing, or nonsense, is no mistake."""
    head = config.get("head")
    width = head.get("channels") if isinstance(head, dict) else None
    return width if isinstance(width, int) and 0 < width < 1 << 16 else _DEFAULT_WIDTH
