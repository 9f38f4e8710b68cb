"""Decodes images of a run again, for pictures of them."""

from __future__ import annotations

from PIL import Image

from vim_deploy.data.decode import Limits
from vim_deploy.data.discover import Item
from vim_deploy.data.isolation import ProcessLoader
from vim_deploy.data.preparation import Scaling
from vim_deploy.errors import ImageError


class OriginalImages:
    """RGB images from files, upright, decoded in another process with the limits of the run.

    `within`: (long side, short side) that they are scaled to fit; None: their own size.
    """

    def __init__(self, limits: Limits, within: tuple[int, int] | None = None) -> None:
        self._loader = ProcessLoader(Scaling(within), limits)

    def read(self, path: str, given: object = None) -> Image.Image:
        """`given`: the input of the run, if known. Raises ImageError for a file that cannot be decoded."""
        loaded = self._loader.load(given if isinstance(given, Item) else Item(path))
        if loaded.pixels is None:
            raise ImageError(loaded.reason)
        return Image.fromarray(loaded.pixels)

    def close(self) -> None:
        self._loader.close()
