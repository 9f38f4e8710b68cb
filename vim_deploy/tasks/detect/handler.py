"""Detection: each image padded to the network's size, its objects in the image's own pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vim_deploy.data.loading import Loaded
from vim_deploy.data.padded import Padded, padded_pixels
from vim_deploy.errors import EngineError
from vim_deploy.metadata import OUTPUTS
from vim_deploy.prediction import FoundObject, Objects, Prediction
from vim_deploy.results import Row
from vim_deploy.tasks.base import Task
from vim_deploy.tasks.detect.files import DetectFiles
from vim_deploy.tasks.options import TaskOptions

if TYPE_CHECKING:
    from vim_deploy.engines.open import OpenEngine

_WAITING = 2  # decoded images beside those that workers have
_MOST_NAMED = 5  # classes that the summary counts by name


class Detect(Task):
    """Boxes, classes, scores and masks of the objects in each image, see docs/dense.md for the rules."""

    default_batch = 1

    def __init__(self, engine: OpenEngine, options: TaskOptions) -> None:
        super().__init__(engine)
        preprocessing = engine.metadata.preprocessing
        self.preparation: Padded = Padded(preprocessing.image_size, preprocessing.channels)
        own: float = engine.metadata.config["head"]["score_threshold"]
        asked = options.detect.score_threshold
        if asked is not None and not own <= asked < 1:
            raise EngineError(
                f"--score-threshold is {asked:g}; expected {own:g} or more and less than 1: {engine.path} "
                f"gives nothing at {own:g} and below."
            )
        self.threshold = own if asked is None else asked
        self._files = DetectFiles(options.detect, engine.class_names, options.inputs)
        self._counts: Counter[str] = Counter()

    def chunk(self, batch: int) -> int:
        return 1

    def ahead(self, batch: int) -> int:
        return _WAITING

    def predict(self, loaded: Sequence[Loaded], batch: int) -> Iterator[Prediction]:
        for entry in loaded:
            if entry.pixels is None or entry.size is None:
                yield self.refused(entry)
            else:
                yield self._prediction(entry, entry.pixels, entry.size)

    def _prediction(self, entry: Loaded, seen: np.ndarray, size: tuple[int, int]) -> Prediction:
        boxes, scores, classes, masks = self._outputs(padded_pixels(seen, self.engine.metadata.preprocessing))
        if not all(np.isfinite(values).all() for values in (boxes, scores, masks)):
            return self.refused(entry, "the model gave NaN or infinite boxes, scores or masks")
        width, height = size
        scale = np.array([width / seen.shape[1], height / seen.shape[0]] * 2)
        own = np.clip(boxes.astype(np.float64) * scale, 0, [width, height, width, height])
        real = (scores > self.threshold) & (own[:, 2:] > own[:, :2]).all(axis=1)
        found = [
            FoundObject(int(index), self.engine.class_names[index], round(float(score), 6), _rounded(box))
            for index, score, box in zip(classes[real], scores[real], own[real], strict=True)
        ]
        path = entry.item.path if entry.item else None
        objects = Objects(tuple(found), masks[real], seen)
        return Prediction(path, "ok", size=size, flags=entry.flags, objects=objects)

    def _outputs(self, pixels: np.ndarray) -> tuple[np.ndarray, ...]:
        """Raises EngineError for what no detector gives."""
        try:
            outputs = self.engine.run(pixels[None])
        except MemoryError:
            raise EngineError("not enough memory for one image.") from None
        boxes, scores, classes, masks = (outputs[name] for name in OUTPUTS["detect"])
        count = len(self.engine.class_names)
        fits = (
            boxes.shape == (len(scores), 4)
            and masks.ndim == 3
            and len(scores) == len(masks) == len(classes)
            and classes.dtype.kind == "i"
            and bool(((classes >= 0) & (classes < count)).all())
        )
        if not fits:
            raise EngineError(
                f"{self.engine.path} gives boxes {boxes.shape}, scores {scores.shape}, classes "
                f"{classes.shape} and masks {masks.shape}; expected n of each, and classes from 0 to "
                f"{count - 1}."
            )
        return boxes, scores, classes, masks

    # What a run adds.

    def identity(self) -> dict[str, Any]:
        return {"score_threshold": self.threshold, **self._files.identity()}

    def begin(self, batch: int, workers: int, report: Callable[[str], None]) -> None:
        self._files.begin()
        height, width = self.preparation.within
        report(
            f"images are scaled to fit {height}x{width} and padded; objects with a score above "
            f"{self.threshold:g}"
        )

    def row(self, prediction: Prediction) -> Row:
        return self._files.row(prediction)

    def count(self, row: Row) -> None:
        self._counts.update(found.name for found in row.objects)
        self._files.count(row)

    def finish(self) -> None:
        self._files.finish()

    def summary(self) -> dict[str, Any]:
        return {
            "objects": self._counts.total(),
            "objects_by_class": dict(self._counts.most_common()),
            "score_threshold": self.threshold,
            **self._files.figures,
        }

    def summary_lines(self) -> list[str]:
        named = [f"{count} {name}" for name, count in self._counts.most_common(_MOST_NAMED)]
        rest = self._counts.total() - sum(count for _, count in self._counts.most_common(_MOST_NAMED))
        text = ", ".join([*named, f"{rest} others"] if rest else named)
        lines = [f"{self._counts.total()} objects{f': {text}' if text else ''}"]
        return lines + self._files.summary_lines()


def _rounded(box: np.ndarray) -> tuple[float, float, float, float]:
    """To a thousandth of a pixel."""
    left, top, right, bottom = (round(float(value), 3) for value in box)
    return left, top, right, bottom
