"""The pictures of a report: images, decoded with the limits of the run."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

from PIL import Image

from vim_deploy.data.decode import Limits
from vim_deploy.data.original import OriginalImages
from vim_deploy.errors import ImageError

SIDE = 240  # images without a drawing are scaled to fit into a square of this side
_QUALITY = 80


@dataclass(frozen=True)
class Pictures:
    """Data URLs of an image and, if the prediction can be drawn, of the drawing at the same size."""

    image: str
    drawing: str | None = None


def read_pictures(paths: Iterable[str | None], limits: Limits, workers: int) -> Iterator[Pictures | None]:
    """The images without drawings; None for None and for files that cannot be decoded."""
    originals = OriginalImages(limits, (SIDE, SIDE))

    def read(path: str | None) -> Pictures | None:
        try:
            return None if path is None else Pictures(data_url(originals.read(path)))
        except ImageError:
            return None

    with ThreadPoolExecutor(workers) as pool, closing(originals):
        yield from pool.map(read, paths)


def data_url(image: Image.Image) -> str:
    """The image as JPEG."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
