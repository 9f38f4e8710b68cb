"""Detection: images are scaled and padded to the model's size, boxes mapped back to the original image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from vim_deploy.data.loading import Loaded
from vim_deploy.data.padded import Padded, padded_pixels
from vim_deploy.errors import EngineError
from vim_deploy.prediction import Prediction
from vim_deploy.results.row import Row
from vim_deploy.results.tables import Table, TaskReport
from vim_deploy.tasks.base import Network
from vim_deploy.tasks.detect.columns import ObjectColumns
from vim_deploy.tasks.detect.files import DetectFiles
from vim_deploy.tasks.detect.options import DetectOptions
from vim_deploy.tasks.detect.result import Box, Detection, Detections, box_of
from vim_deploy.tasks.detect.spec import COUNT, EXCEEDED, OUTPUTS
from vim_deploy.tasks.detect.visualization import draw
from vim_deploy.tasks.palette import hexadecimal_color
from vim_deploy.tasks.whole_image import WholeImageHandler
from vim_deploy.text import plural

_MAX_NAMED = 5  # classes that the summary counts by name
# Flags of images that exceed a bound of a network with a fixed number of rows, in the order of `EXCEEDED`.
_BOUNDS = {
    "objects_limited": "more objects than the network returns: the best were kept",
    "candidates_limited": "too many candidates: objects with low scores may be missing",
}


class DetectHandler(WholeImageHandler):
    """Boxes, classes, scores and masks of the objects in each image, see docs/dense.md for the rules."""

    default_batch = 1

    def __init__(self, network: Network, options: DetectOptions, inputs: Sequence[str]) -> None:
        super().__init__(network)
        preprocessing = network.metadata.preprocessing
        self.preparation: Padded = Padded(preprocessing.image_size, preprocessing.channels)
        minimum: float = network.metadata.config["head"]["score_threshold"]
        self.threshold = minimum if options.score_threshold is None else options.score_threshold
        if not minimum <= self.threshold < 1:
            raise EngineError(
                f"--score-threshold is {self.threshold:g}; expected {minimum:g} or more and less than 1: "
                f"{network.path} was exported with the threshold {minimum:g}."
            )
        self._files: DetectFiles = DetectFiles(options, network.class_names)
        self._picture_threshold = options.picture_threshold
        self._counts: Counter[str] = Counter()
        self._bounded: Counter[str] = Counter()

    @property
    def columns(self) -> ObjectColumns:
        return ObjectColumns(self._picture_threshold, self._files.annotated)

    def predict(self, loaded: Sequence[Loaded], batch: int) -> Iterator[Prediction]:
        for entry in loaded:
            if entry.pixels is None or entry.size is None:
                yield self.failed(entry)
            else:
                yield self._prediction(entry, entry.pixels, entry.size)

    def network_input(self, prepared: np.ndarray) -> np.ndarray:
        return padded_pixels(prepared, self.network.metadata.preprocessing)

    def _prediction(self, loaded: Loaded, model_input: np.ndarray, size: tuple[int, int]) -> Prediction:
        outputs = self.outputs(self.network_input(model_input)[None])
        boxes, scores, classes, masks = self._rows(outputs)
        # All rows: NaN is not above the threshold, and would look like an image without objects.
        if not all(np.isfinite(outputs[name]).all() for name in ("boxes", "scores", "masks")):
            return self.failed(loaded, "the model returned NaN or infinite boxes, scores or masks")
        width, height = size
        scale = np.array([width / model_input.shape[1], height / model_input.shape[0]] * 2)
        boxes = np.clip(boxes.astype(np.float64) * scale, 0, [width, height, width, height])
        valid = (scores > self.threshold) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        objects = [
            Detection(int(index), self.network.class_names[index], round(float(score), 6), _rounded(box))
            for index, score, box in zip(classes[valid], scores[valid], boxes[valid], strict=True)
        ]
        result = Detections(tuple(objects), masks[valid])
        return self.prediction(loaded, flags=(*loaded.flags, *self._exceeded(outputs)), result=result)

    def _rows(self, outputs: dict[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        """The objects' rows. Raises EngineError for outputs of the wrong shape or type."""
        boxes, scores, classes, masks = (outputs[name][: self._objects(outputs)] for name in OUTPUTS)
        count = len(self.network.class_names)
        fits = (
            boxes.shape == (len(scores), 4)
            and masks.ndim == 3
            and len(scores) == len(masks) == len(classes)
            and classes.dtype.kind == "i"
            and bool(((classes >= 0) & (classes < count)).all())
        )
        if not fits:
            raise EngineError(
                f"{self.network.path} returned boxes {boxes.shape}, scores {scores.shape}, classes "
                f"{classes.shape} and masks {masks.shape}; expected n of each, and classes from 0 to "
                f"{count - 1}."
            )
        return boxes, scores, classes, masks

    def draw(self, image: Image.Image, prediction: Prediction, legend: bool = True) -> Image.Image:
        return draw(
            image, prediction, self.network.class_names, threshold=self._picture_threshold, legend=legend
        )

    def _objects(self, outputs: dict[str, np.ndarray]) -> int | None:
        """How many of a fixed number of rows are objects; None if all are."""
        if COUNT not in outputs:
            return None
        count, rows = outputs[COUNT], len(outputs[OUTPUTS[0]])
        if count.dtype.kind != "i" or count.shape != (1,) or not 0 <= count[0] <= rows:
            raise EngineError(
                f"{self.network.path} returned the {COUNT} {count!r}; expected an integer from 0 to {rows}."
            )
        return int(count[0])

    def _exceeded(self, outputs: dict[str, np.ndarray]) -> list[str]:
        """The flags of the bounds that the image exceeds."""
        if COUNT not in outputs:
            return []
        exceeded = outputs.get(EXCEEDED, np.empty(0))
        if exceeded.shape != (len(_BOUNDS),):
            raise EngineError(
                f"{self.network.path} returned {EXCEEDED} of shape {exceeded.shape}; expected "
                f"{len(_BOUNDS)} numbers. Export the model again."
            )
        return [flag for flag, value in zip(_BOUNDS, exceeded, strict=True) if value]

    # Used by vim-infer.

    def identity(self) -> dict[str, Any]:
        return {"score_threshold": self.threshold, **self._files.identity()}

    def start(self, batch: int, workers: int, report: Callable[[str], None]) -> None:
        self._files.start()
        height, width = self.preparation.within
        report(
            f"images are scaled to fit {height}x{width} and padded; objects have a score above "
            f"{self.threshold:g}"
        )

    def count(self, row: Row) -> None:
        self._counts.update(found.name for found in row.result or ())
        self._bounded.update(flag for flag in row.flags if flag in _BOUNDS)
        super().count(row)

    def summary(self) -> dict[str, Any]:
        return {
            "objects": self._counts.total(),
            "objects_by_class": dict(self._counts.most_common()),
            "score_threshold": self.threshold,
            **self._bounded,
            **self._files.metrics,
        }

    def report(self) -> TaskReport:
        total = max(1, self._counts.total())
        names = self.network.class_names
        counts = [(name, count, count / total) for name, count in self._counts.most_common()]
        table = Table("Objects by class", ("class", "objects", "share"), counts, shares=(2,), classes=True)
        precision = self._files.report()
        bounded = {f"images with {_BOUNDS[flag]}": str(count) for flag, count in self._bounded.items()}
        return TaskReport(
            {"objects": str(self._counts.total()), **bounded, **precision.figures},
            [*precision.tables, table],
            {name: hexadecimal_color(index) for index, name in enumerate(names)},
        )

    def summary_lines(self) -> list[str]:
        named = [f"{name}: {count}" for name, count in self._counts.most_common(_MAX_NAMED)]
        rest = self._counts.total() - sum(count for _, count in self._counts.most_common(_MAX_NAMED))
        text = ", ".join([*named, f"other: {rest}"] if rest else named)
        total = plural(self._counts.total(), "object")
        lines = [f"{total} ({text})" if text else total]
        lines += [
            f"{plural(count, 'image')} with {_BOUNDS[flag]} (flag {flag})"
            for flag, count in self._bounded.items()
        ]
        return lines + self._files.summary_lines()


def _rounded(box: np.ndarray) -> Box:
    """To a thousandth of a pixel."""
    return box_of(round(float(value), 3) for value in box)
