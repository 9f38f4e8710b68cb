"""The pictures of a report: images, decoded with the limits of the run, and the predictions drawn on them."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TypeAlias

from PIL import Image

from vim_deploy.data.decode import Limits
from vim_deploy.data.original import OriginalImages
from vim_deploy.errors import ImageError
from vim_deploy.prediction import Prediction

Draw: TypeAlias = Callable[[Image.Image, Prediction], Image.Image]

SIDE = 240  # images without a drawing are scaled to fit into a square of this side
DRAWING_SIDE = 640
_QUALITY = 80


@dataclass(frozen=True)
class Pictures:
    """Data URLs of an image and, if the prediction can be drawn, of the drawing at the same size."""

    image: str
    drawing: str | None = None


class Drawings:
    """Draws predictions while a run has them. `draw` draws one on its image."""

    def __init__(self, draw: Draw, limits: Limits) -> None:
        self._draw = draw
        self._originals = OriginalImages(limits, (DRAWING_SIDE, DRAWING_SIDE))

    def pictures(self, prediction: Prediction) -> Pictures | None:
        """None for an image that cannot be decoded again."""
        assert prediction.path is not None
        try:
            image = self._originals.read(prediction.path)
        except ImageError:
            return None
        return Pictures(_data_url(image), _data_url(self._draw(image, prediction)))

    def close(self) -> None:
        self._originals.close()


def read_pictures(paths: Iterable[str | None], limits: Limits, workers: int) -> Iterator[Pictures | None]:
    """The images without drawings; None for None and for files that cannot be decoded."""
    originals = OriginalImages(limits, (SIDE, SIDE))

    def read(path: str | None) -> Pictures | None:
        try:
            return None if path is None else Pictures(_data_url(originals.read(path)))
        except ImageError:
            return None

    with ThreadPoolExecutor(workers) as pool, closing(originals):
        yield from pool.map(read, paths)


def _data_url(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
