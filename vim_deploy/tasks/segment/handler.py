"""Segmentation: sliding-window inference, and label maps of the original image size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from vim_deploy.data.loading import Loaded
from vim_deploy.data.preparation import Scaling
from vim_deploy.errors import EngineError
from vim_deploy.prediction import Prediction
from vim_deploy.results.tables import TaskReport
from vim_deploy.tasks.base import Network
from vim_deploy.tasks.segment.axis import Axis
from vim_deploy.tasks.segment.columns import SegmentColumns
from vim_deploy.tasks.segment.files import SegmentFiles
from vim_deploy.tasks.segment.ground_truth import class_pixels
from vim_deploy.tasks.segment.mapper import Logits, label_map
from vim_deploy.tasks.segment.memory import estimate_memory, format_bytes
from vim_deploy.tasks.segment.options import ORIGINAL_SIZE, SegmentOptions
from vim_deploy.tasks.segment.result import ClassArea, Segmentation
from vim_deploy.tasks.whole_image import PREFETCHED, WholeImageHandler
from vim_deploy.text import plural

_LONG_TO_SHORT = 4  # default scale: upstream's 2048 by 512
_STRIDE = 2 / 3  # of the window: upstream's 341 of 512
_MEGAPIXELS = (1, 10)  # sizes that the memory is estimated for where images are not scaled
_DEFAULT_WIDTH = 192  # channels of a decode head that the file does not describe


@dataclass
class _Job:
    """An image that is being segmented: its axes, and the logits of its windows by row."""

    loaded: Loaded
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


class SegmentHandler(WholeImageHandler):
    """A label map for each image, see docs/dense.md for the rules."""

    default_batch = 4

    def __init__(self, network: Network, options: SegmentOptions, inputs: Sequence[str]) -> None:
        super().__init__(network)
        preprocessing = network.metadata.preprocessing
        self._options, self._crop = options, preprocessing.image_size
        short = min(self._crop)
        scale = (_LONG_TO_SHORT * short, short) if options.scale is None else options.scale
        self.scale: tuple[int, int] | None = None if isinstance(scale, str) else scale
        self.preparation = Scaling(self.scale, preprocessing.channels)
        self.stride = tuple(
            round(side * _STRIDE) if options.stride is None else options.stride for side in self._crop
        )
        if not all(step <= side for step, side in zip(self.stride, self._crop, strict=True)):
            raise EngineError(
                f"--stride is {options.stride}; expected 1 to {short}, the side of the sliding window."
            )
        output = network.output
        shape = [size or 0 for size in output.shape[1:]]
        if len(shape) != 3 or 0 in shape:
            raise EngineError(
                f"the output {output.name} of {network.path} has shape {output.shape}; expected (batch, "
                "classes, height, width) with fixed sizes for a segmentation model."
            )
        self._classes, *self._cells = shape
        self._estimate = partial(
            estimate_memory,
            classes=self._classes,
            channels=preprocessing.channels,
            width=_head_width(network.metadata.config),
            tile=options.tile,
        )
        self._files: SegmentFiles = SegmentFiles(options, network.class_names, inputs)

    @property
    def columns(self) -> SegmentColumns:
        return SegmentColumns()

    def predict(self, loaded: Sequence[Loaded], batch: int) -> Iterator[Prediction]:
        """Batches may have windows of several images, unless images are tiled."""
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

    def network_input(self, prepared: np.ndarray) -> np.ndarray:
        raise EngineError(
            f"{self.network.path} is a segmenter, which is given windows of an image; use predict for images."
        )

    def _job(self, entry: Loaded, batch: int) -> Prediction | _Job:
        if entry.pixels is None or entry.size is None:
            return self.failed(entry)
        width, height = entry.size
        job = _Job(entry, *self._axes((height, width), entry.pixels.shape[:2]))
        needed, limit = self._estimate(job.rows, job.columns, batch=batch).total, self._options.max_memory
        if needed <= limit:
            return job
        smaller = "a smaller --scale or --batch-size" if self._options.tile else "--tile or a smaller --scale"
        return self.failed(
            entry,
            f"needs about {format_bytes(needed)} of memory, more than the limit of {format_bytes(limit)}; "
            f"{smaller} needs less, --max-memory allows more",
        )

    def _axes(self, original: tuple[int, int], scaled: tuple[int, ...]) -> tuple[Axis, Axis]:
        sides = zip(original, scaled, self._crop, self.stride, self._cells, strict=True)
        down, across = (Axis(*side) for side in sides)
        return down, across

    def _finished(
        self, waiting: list[Prediction | _Job], jobs: list[_Job], batch: int
    ) -> Iterator[Prediction]:
        if not self._options.tile:
            self._run_windows([(job, *window) for job in jobs for window in job.windows], batch)
        for job in waiting:
            if isinstance(job, Prediction):
                yield job
                continue
            prediction = self._prediction(job, batch)
            job.bands.clear()
            if not job.finite:
                name = self.network.output.name
                prediction = self.failed(job.loaded, f"the model returned NaN or infinite {name}")
            yield prediction

    def _prediction(self, job: _Job, batch: int) -> Prediction:
        loaded = job.loaded

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
        result = Segmentation(labels, self._areas(labels))
        return self.prediction(loaded, flags=(*loaded.flags, *job.flags), result=result)

    def _areas(self, labels: np.ndarray) -> tuple[ClassArea, ...]:
        """Largest first, ties in class order."""
        counts = class_pixels(labels, self._classes)
        order = sorted(np.flatnonzero(counts), key=lambda index: -counts[index])
        names = self.network.class_names
        return tuple(ClassArea(int(index), names[index], int(counts[index])) for index in order)

    def _run_windows(self, windows: list[tuple[_Job, int, int]], batch: int) -> None:
        """Add these windows' logits to their jobs, in rows from left to right."""
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
        """A normalized window, padded with zeros (the mean color) beyond the image."""
        height, width = self._crop
        top, left = job.rows.starts[down], job.columns.starts[across]
        assert job.loaded.pixels is not None
        values = job.loaded.pixels[top : top + height, left : left + width]
        normalized = self.network.metadata.preprocessing.normalize(values)
        padding = [(0, 0), (0, height - values.shape[0]), (0, width - values.shape[1])]
        return np.pad(normalized, padding) if any(after for _, after in padding) else normalized

    # Used by vim-infer.

    def identity(self) -> dict[str, Any]:
        return {
            "scale": ORIGINAL_SIZE if self.scale is None else list(self.scale),
            "stride": list(self.stride),
            "max_memory": self._options.max_memory,
            "tile": self._options.tile,
            **self._files.identity(),
        }

    def start(self, batch: int, workers: int, report: Callable[[str], None]) -> None:
        self._files.start()
        memory = self._scaled_memory(self.scale, batch, workers) if self.scale else self._memory(batch)
        report(
            f"estimated memory without the model: {memory}; images that need more than "
            f"{format_bytes(self._options.max_memory)} are refused"
        )

    def _memory(self, batch: int) -> str:
        """The estimates for images that are not scaled."""
        sides = [math.isqrt(megapixels * 10**6) for megapixels in _MEGAPIXELS]
        needed = [
            self._estimate(*self._axes((side, side), (side, side)), batch=batch).total for side in sides
        ]
        return ", ".join(
            f"{format_bytes(count)} for a square image of {plural(megapixels, 'megapixel')}"
            for megapixels, count in zip(_MEGAPIXELS, needed, strict=True)
        )

    def _scaled_memory(self, scale: tuple[int, int], batch: int, workers: int) -> str:
        """The estimate for the largest scaled image; the original size adds a few bytes per pixel."""
        long, short = max(scale), min(scale)
        rows, columns = self._axes((short, long), (short, long))
        estimate = self._estimate(rows, columns, batch=batch)
        prefetched = (workers + PREFETCHED) * long * short * self.network.metadata.preprocessing.channels
        windows = len(rows.starts) * len(columns.starts)
        return (
            f"{format_bytes(estimate.total + prefetched)} for images scaled to {long} x {short} "
            f"({format_bytes(estimate.run)} for a batch of {plural(batch, 'window')}, "
            f"{format_bytes(estimate.windows)} for the logits of {plural(windows, 'window')})"
        )

    def summary(self) -> dict[str, Any]:
        return self._files.statistics.to_dict()

    def summary_lines(self) -> list[str]:
        return self._files.statistics.lines()

    def report(self) -> TaskReport:
        return self._files.statistics.report()


def _head_width(config: dict[str, Any]) -> int:
    """Used for the memory estimate only, so a missing or invalid value is not an error."""
    head = config.get("head")
    width = head.get("channels") if isinstance(head, dict) else None
    return width if isinstance(width, int) and 0 < width < 1 << 16 else _DEFAULT_WIDTH
