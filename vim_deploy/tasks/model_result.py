"""What `Model.predict` returns for an image, whatever the task."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from PIL import Image

from vim_deploy.data.decode import Limits
from vim_deploy.data.discover import Item
from vim_deploy.data.loading import decode_path
from vim_deploy.errors import ImageError
from vim_deploy.prediction import Prediction
from vim_deploy.results.columns import Columns
from vim_deploy.results.escape import escape
from vim_deploy.results.row import Row
from vim_deploy.tasks.draw import draw
from vim_deploy.tasks.registry import TASKS

Value = TypeVar("Value")


class Result(Generic[Value]):
    """The result for one image. A task's own class adds what the task computes.

    A result without a prediction has an `error`, and reading what the task computes raises ImageError with
    the reason. Results are equal if they have the same values, and can be pickled. The result of an image
    that was given in memory keeps that image, for `plot`.
    """

    def __init__(
        self,
        task: str,
        prediction: Prediction,
        row: Row,
        columns: Columns,
        class_names: Sequence[str],
        limits: Limits,
    ) -> None:
        self._task, self._prediction, self._row, self._columns = task, prediction, row, columns
        self._class_names, self._limits = tuple(class_names), limits

    @property
    def task(self) -> str:
        """The task of the model."""
        return self._task

    @property
    def path(self) -> str | None:
        """The path or URL of the image; None for an image in memory."""
        return self._prediction.path

    @property
    def error(self) -> str | None:
        """Why there is no prediction; None if there is one."""
        return None if self.ok else self._prediction.reason

    @property
    def ok(self) -> bool:
        """Whether there is a prediction."""
        return self._prediction.status == "ok"

    @property
    def size(self) -> tuple[int, int] | None:
        """(width, height) of the image after EXIF rotation; None if it could not be decoded."""
        return self._prediction.size

    @property
    def flags(self) -> tuple[str, ...]:
        """What decoding changed, e.g. "rotated"; see docs/inference.md."""
        return self._prediction.flags

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the model's classes; their indices if it has no names."""
        return self._class_names

    @property
    def value(self) -> Value:
        """What the task computed, see `result.py` in its folder. Raises ImageError if there is none."""
        if not self.ok:
            raise self._no_result()
        value: Value = self._prediction.result
        return value

    def to_dict(self) -> dict[str, Any]:
        """Plain data: the values that `vim-infer` writes to JSON Lines for the image."""
        return {**self._columns.record(self._row), "path": None if self.path is None else self._row.path}

    def plot(self, **options: Any) -> Image.Image:
        """A new RGB image with the prediction drawn on the image, as `vim-infer --overlays` writes it.

        The file is read again. `options`: `legend=False` for none; for detect `threshold`, the smallest score
        of the objects that are drawn, by default 0.25. Raises ImageError if there is no prediction or the
        file cannot be read, and EngineError for a task that has no pictures.
        """
        if not self.ok:
            raise self._no_result()
        return draw(TASKS.get(self._task), self._image(), self._prediction, self._class_names, **options)

    def _image(self) -> Image.Image:
        given = self._prediction.given
        limits = self._limits
        decoded = decode_path(given.path, limits) if isinstance(given, Item) else given.decode(limits)
        return decoded.image.convert("RGB")

    def _no_result(self) -> ImageError:
        name = "the image" if self.path is None else escape(self.path)
        return ImageError(f"{name} has no result: {self.error}.")

    def _summary(self) -> str:
        """The prediction in a few words, for `repr`."""
        return str(self.value)

    def __repr__(self) -> str:
        parts = ["image in memory" if self.path is None else repr(escape(self.path))]
        if self.size is not None:
            parts.append("{}x{}".format(*self.size))
        parts.append(self._summary() if self.ok else f"error: {self.error}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Result) or type(self) is not type(other):
            return NotImplemented
        first, second = (dataclasses.replace(result._prediction, given=None) for result in (self, other))
        return _equal(first, second) and self._class_names == other._class_names

    __hash__ = None  # type: ignore[assignment]


def _equal(first: Any, second: Any) -> bool:
    """Equality of records that contain arrays."""
    if type(first) is not type(second):
        return False
    if isinstance(first, np.ndarray):
        return first.dtype == second.dtype and np.array_equal(first, second)
    if isinstance(first, tuple):
        return len(first) == len(second) and all(map(_equal, first, second))
    if dataclasses.is_dataclass(first):
        fields = dataclasses.fields(first)
        return all(_equal(getattr(first, item.name), getattr(second, item.name)) for item in fields)
    return bool(first == second)
