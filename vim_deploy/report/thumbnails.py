"""Thumbnails of inputs, decoded with the limits of the run."""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from vim_deploy.data.decode import Limits
from vim_deploy.data.discover import Item
from vim_deploy.data.isolation import ProcessLoader
from vim_deploy.data.preprocess import Preprocessing

SIDE = 72
_PREPROCESSING = Preprocessing((SIDE, SIDE), 1.0, (0.0,) * 3, (1.0,) * 3)


def thumbnails(paths: Iterable[str | None], limits: Limits, workers: int) -> Iterator[str | None]:
    """A data URL for each path; None for None and for files that cannot be decoded."""
    loader = ProcessLoader(_PREPROCESSING, limits)

    def thumbnail(path: str | None) -> str | None:
        pixels = loader.load(Item(path)).pixels if path is not None else None
        return None if pixels is None else _data_url(pixels)

    with ThreadPoolExecutor(workers) as pool, contextlib.closing(loader):
        yield from pool.map(thumbnail, paths)


def _data_url(pixels: np.ndarray) -> str:
    values = np.rint(pixels.transpose(1, 2, 0) * 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
