"""The overlays of a run: every image with its prediction drawn on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vim_deploy.data.decode import Limits
from vim_deploy.data.original import OriginalImages
from vim_deploy.errors import EngineError, ImageError
from vim_deploy.pipeline.options import InferenceOptions
from vim_deploy.prediction import Prediction
from vim_deploy.tasks.base import TaskHandler
from vim_deploy.tasks.image_files import ImageNames, write_file
from vim_deploy.tasks.palette import encoded
from vim_deploy.tasks.registry import TASKS

_SUFFIX = ".jpg"


def overlays_of(options: InferenceOptions, task: TaskHandler) -> Overlays | None:
    """The overlays of a run, None without --overlays."""
    if options.overlays is None:
        return None
    return Overlays(options.overlays, task, options.inputs, options.limits, options.legend)


class Overlays:
    """Writes a JPEG file for each image into `folder`, at the image's own size with a legend below it.

    Raises EngineError for a task whose predictions cannot be drawn.
    """

    def __init__(
        self, folder: Path, task: TaskHandler, inputs: Sequence[str], limits: Limits, legend: bool
    ) -> None:
        name = task.network.metadata.task
        if TASKS.get(name).draw is None:
            raise EngineError(
                f"--overlays: predictions of the task {name} cannot be drawn, and {task.network.path} is for "
                "this task. Leave it out."
            )
        self._folder, self._task, self._legend = folder, task, legend
        self._names = ImageNames(inputs)
        self._originals = OriginalImages(limits)

    def files_of(self, path: str) -> tuple[Path, ...]:
        return (self._folder / f"{self._names.name(path)}{_SUFFIX}",)

    def write(self, prediction: Prediction) -> None:
        """Raises ImageError if the image cannot be decoded again or the name of its overlay cannot be used,
        and OutputError if no overlay can be written."""
        assert prediction.path is not None
        try:
            image = self._originals.read(prediction.path, prediction.given)
        except ImageError as error:
            raise ImageError(f"its overlay cannot be drawn: {error}") from None
        picture = self._task.draw(image, prediction, self._legend)
        for file in self.files_of(prediction.path):
            write_file(file, encoded(picture, "JPEG"))

    def close(self) -> None:
        self._originals.close()
