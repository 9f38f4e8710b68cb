"""The model for images in the server's Python backend: encoded images in, the task's results out.

Images are decoded in separate processes, and prepared and interpreted by the code of vim-infer. The network
is another model of the same server, which runs the requests of several clients as one batch.
"""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from vim_deploy.data.decode import Limits
from vim_deploy.data.isolation import ProcessLoader
from vim_deploy.data.loading import Loaded, default_workers
from vim_deploy.data.memory import EncodedImage
from vim_deploy.errors import EngineError, VimDeployError
from vim_deploy.interface.task_options import python_options
from vim_deploy.prediction import Prediction
from vim_deploy.registry import load_object
from vim_deploy.serving.description import FILE_NAME, Description
from vim_deploy.serving.network import ServedNetwork
from vim_deploy.serving.tensors import array_of, check_numpy, failure, response
from vim_deploy.tasks.open import open_task
from vim_deploy.tasks.registry import TASKS
from vim_deploy.tasks.served import Served
from vim_deploy.text import by, listed

INPUT = "image"
DEFAULT_MAX_BYTES = 64 << 20  # of an encoded image
# Less than for files: other requests of the batch wait while an image is decoded.
DEFAULT_SECONDS = 10.0


@dataclasses.dataclass(frozen=True)
class Settings:
    """The parameters in config.pbtxt. `decoders`: decoder processes. `max_bytes`: of an encoded image."""

    limits: Limits
    decoders: int
    max_bytes: int
    task_options: dict[str, Any]

    @classmethod
    def of(cls, parameters: Mapping[str, Mapping[str, str]]) -> Settings:
        """Values are written as in JSON; what is not JSON is a text. Raises EngineError."""
        values = {name: _value(entry["string_value"]) for name, entry in parameters.items()}
        known = {item.name for item in dataclasses.fields(Limits)} & values.keys()
        limits = Limits(**{"seconds": DEFAULT_SECONDS, **{name: values.pop(name) for name in known}})
        decoders = values.pop("decoders", None)
        max_bytes = values.pop("max_bytes", DEFAULT_MAX_BYTES)
        numbers = {"decoders": decoders, "max_bytes": max_bytes, **dataclasses.asdict(limits)}
        for name, value in numbers.items():
            if value is None and name in ("decoders", "seconds"):
                continue  # the default number, and no limit
            if not isinstance(value, (int, float) if name == "seconds" else int) or not value >= 0:
                raise EngineError(f"the parameter {name} is {value!r}; expected a number of 0 or more.")
        return cls(limits, decoders or default_workers(limits), max_bytes, values)


class ImageModel:
    """The server calls these methods, from one thread."""

    def initialize(self, args: dict[str, str]) -> None:
        """Raises VimDeployError, with which the server reports the model as not loaded."""
        check_numpy()
        config = json.loads(args["model_config"])
        folder = Path(args["model_repository"]) / args["model_version"]
        network = ServedNetwork(Description.read(folder / FILE_NAME))
        self._settings = Settings.of(config.get("parameters") or {})
        spec = TASKS.get(network.metadata.task)
        assert spec.served is not None
        self._served: Served = load_object(spec.served)
        self._task = open_task(network, python_options(spec, self._settings.task_options))
        self._batch = network.batches.nearest(max(1, config["max_batch_size"]))
        self._loader = ProcessLoader(self._task.preparation, self._settings.limits)
        self._threads = ThreadPoolExecutor(self._settings.decoders, "decoder")
        self._start_decoders()

    def _start_decoders(self) -> None:
        """Each thread starts its process, so that the first requests do not wait for it."""
        count = self._settings.decoders
        together = threading.Barrier(count)

        def start(image: EncodedImage) -> None:
            together.wait()
            self._loader.load(image)

        list(self._threads.map(start, [EncodedImage(b"")] * count))

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response per request; a request with an image that cannot be read is an error."""
        images = [list(array_of(request, INPUT).ravel()) for request in requests]
        try:
            predictions = self._predictions([image for several in images for image in several])
            found = [[next(predictions) for _ in several] for several in images]
        except VimDeployError as error:
            return [failure(error, internal=True) for _ in requests]
        except MemoryError:
            problem = "there is not enough memory; send fewer images at once."
            return [failure(problem, internal=True) for _ in requests]
        return list(map(self._response, found))

    def _predictions(self, images: Sequence[bytes]) -> Iterator[Prediction]:
        """The results are computed as they are taken, so few decoded images are in memory."""
        size = self._task.chunk(self._batch)
        for first in range(0, len(images), size):
            given = [EncodedImage(image) for image in images[first : first + size]]
            yield from self._task.predict(list(self._threads.map(self._load, given)), self._batch)

    def _load(self, image: EncodedImage) -> Loaded:
        limit = self._settings.max_bytes
        if len(image.content) > limit:
            return Loaded(
                image, reason=f"{len(image.content)} bytes are more than the limit of {limit} bytes"
            )
        return self._loader.load(image)

    def _response(self, predictions: Sequence[Prediction]) -> Any:
        problems = [
            f"image {number}: {prediction.reason}"
            for number, prediction in enumerate(predictions)
            if prediction.status != "ok"
        ]
        if problems:
            return failure(f"{listed(problems)}.")
        found = [self._served.arrays(prediction) for prediction in predictions]
        for name in found[0]:
            shapes = {arrays[name].shape for arrays in found}
            if len(shapes) > 1:
                return failure(
                    f"the output {name} has the shapes {listed(sorted(map(by, shapes)))} for the images of "
                    "this request; send each image as a request of its own."
                )
        return response({name: np.stack([arrays[name] for arrays in found]) for name in found[0]})

    def finalize(self) -> None:
        self._loader.close()
        self._threads.shutdown()


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
