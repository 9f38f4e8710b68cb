"""The interface between a task and the inference pipeline."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from vim_deploy.data.decode import Limits
from vim_deploy.data.isolation import ProcessLoader
from vim_deploy.data.loading import Loaded, Loader
from vim_deploy.data.preparation import Preparation
from vim_deploy.errors import EngineError
from vim_deploy.metadata import ModelMetadata
from vim_deploy.prediction import Prediction
from vim_deploy.results.columns import Columns
from vim_deploy.results.row import Row
from vim_deploy.results.tables import TaskReport
from vim_deploy.tasks.draw import draw
from vim_deploy.tasks.registry import TASKS
from vim_deploy.tasks.spec import TaskSpec
from vim_deploy.text import plural

DEFAULT_BATCH = 8
MAX_CHUNK = 8


class Tensor(Protocol):
    """An input or output: its name, and its shape with None for sizes chosen at run time."""

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> tuple[int | None, ...]: ...


class Batches(Protocol):
    """The batch sizes that a network runs; its string is that range in words."""

    @property
    def smallest(self) -> int: ...

    @property
    def fixed(self) -> bool: ...

    def contains(self, size: int) -> bool: ...

    def nearest(self, size: int) -> int: ...


class Network(Protocol):
    """An opened engine, as far as tasks and the pipeline use it."""

    @property
    def path(self) -> str: ...

    @property
    def metadata(self) -> ModelMetadata: ...

    @property
    def class_names(self) -> tuple[str, ...]: ...

    @property
    def output(self) -> Tensor:
        """The primary output."""
        ...

    @property
    def batches(self) -> Batches: ...

    def run(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Outputs by name for float32 pixels (batch, channels, height, width)."""
        ...


class TaskHandler(ABC):
    """Turns decoded images into predictions, and predictions into rows and files.

    Methods raise EngineError if the network's outputs do not match its metadata.
    """

    default_batch = DEFAULT_BATCH  # images per inference
    draws_in_report = False  # whether the report shows drawings of predictions besides the images

    def __init__(self, network: Network) -> None:
        self.network = network
        self.preparation: Preparation = network.metadata.preprocessing

    def chunk(self, batch: int) -> int:
        """How many inputs a decoding worker takes at a time."""
        return min(batch, MAX_CHUNK)

    @property
    def spec(self) -> TaskSpec:
        return TASKS.get(self.network.metadata.task)

    def loader(self, limits: Limits) -> Loader:
        """Reads the input files of a run."""
        return ProcessLoader(self.preparation, limits)

    def prefetch(self, batch: int) -> int:
        """How many decoded inputs may wait, in addition to those that workers are decoding."""
        return 2 * batch

    @property
    @abstractmethod
    def columns(self) -> Columns:
        """The columns that the task adds to rows."""

    @abstractmethod
    def predict(self, loaded: Sequence[Loaded], batch: int) -> Iterator[Prediction]:
        """One prediction per input, in order; `batch` is the largest batch that the network is given."""

    def draw(self, image: Image.Image, prediction: Prediction, legend: bool = True) -> Image.Image:
        """A picture of the prediction, see `tasks.draw`. Raises EngineError if the task has no pictures."""
        return draw(self.spec, image, prediction, self.network.class_names, legend=legend)

    def network_input(self, prepared: np.ndarray) -> np.ndarray:
        """The pixels (channels, height, width) that the network is given for a prepared image.

        Raises EngineError for a task whose networks are not given whole images.
        """
        return prepared

    def row(self, prediction: Prediction) -> Row:
        """The prediction's row. Files that belong to it are complete when this returns."""
        return Row.of(prediction, self.network.class_names)

    # Used by vim-infer, not by Model.predict.

    def identity(self) -> dict[str, Any]:
        """The options that rows depend on, as plain JSON. A run is resumed only with equal ones."""
        return {}

    def files_of(self, path: str) -> tuple[Path, ...]:
        """The files that `row` writes for an image, none of which exist when it is called."""
        return ()

    def start(self, batch: int, workers: int, report: Callable[[str], None]) -> None:  # noqa: B027
        """Called before the first input, to check options and to `report` what the user should know."""

    def count(self, row: Row) -> None:  # noqa: B027
        """Called for every row, first for the rows of a resumed run."""

    def summary(self) -> dict[str, Any]:
        """The task's statistics over all rows, as plain JSON."""
        return {}

    def summary_lines(self) -> list[str]:
        """The same for people."""
        return []

    def report(self) -> TaskReport:
        """What the task adds to the report of a run, called after `finish`."""
        return TaskReport()

    def finish(self) -> None:  # noqa: B027
        """Called after the last row, before the results file is put in place."""

    # Shared by the tasks.

    def failed(self, loaded: Loaded, reason: str = "") -> Prediction:
        """The prediction for an input that could not be decoded, or that failed for `reason`."""
        return self.prediction(loaded, status="error", reason=reason or loaded.reason)

    def prediction(self, loaded: Loaded, **fields: Any) -> Prediction:
        """The prediction for an input; `fields`: those that the input does not give."""
        known = {"status": "ok", "size": loaded.size, "flags": loaded.all_flags, "label": loaded.label}
        return Prediction(loaded.path, **{**known, "given": loaded.given, **fields})

    def outputs(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """`Network.run`; running out of memory is an EngineError."""
        try:
            return self.network.run(pixels)
        except MemoryError:
            advice = "use a smaller batch size" if len(pixels) > 1 else "use a machine with more"
            images = plural(len(pixels), "image")
            raise EngineError(f"not enough memory for a batch of {images}; {advice}.") from None

    def run(self, pixels: list[np.ndarray], shape: tuple[int | None, ...]) -> np.ndarray:
        """The primary output for a batch, checked against `shape` (without the batch axis; None: any size).

        A batch below the network's smallest batch size is padded with zeros; their results are dropped.
        """
        network = self.network
        padding = [np.zeros_like(pixels[0])] * (network.batches.smallest - len(pixels))
        output = self.outputs(np.stack(pixels + padding))[network.output.name]
        expected = (len(pixels) + len(padding), *shape)
        fits = len(output.shape) == len(expected) and all(
            size is None or size == found for size, found in zip(expected, output.shape, strict=True)
        )
        if output.dtype.kind != "f" or not fits:
            raise EngineError(
                f"the output {network.output.name} of {network.path} has type {output.dtype} and shape "
                f"{output.shape}; expected floating-point numbers of shape {expected}."
            )
        return output[: len(pixels)]
