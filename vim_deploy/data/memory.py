"""Images in memory and behind URLs as inputs of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from vim_deploy.data.decode import DecodedImage, Limits, MinimumSize, decode_bytes, decode_pillow
from vim_deploy.data.remote import read_url
from vim_deploy.errors import ImageError


class ImageSource(Protocol):
    """An image that is not a local file. `name`: its URL or file name where known, for results."""

    @property
    def name(self) -> str | None: ...

    def decode(self, limits: Limits, minimum_size: MinimumSize | None = None) -> DecodedImage:
        """The upright 8-bit image, by the rules of `data/decode.py`. Raises ImageError."""
        ...


@dataclass(frozen=True)
class PillowImage:
    """An image opened or created with Pillow."""

    image: Image.Image
    name: str | None = None

    def decode(self, limits: Limits, minimum_size: MinimumSize | None = None) -> DecodedImage:
        return decode_pillow(self.image, limits)


@dataclass(frozen=True)
class PixelImage:
    """An image that was decoded before, such as an array."""

    decoded: DecodedImage
    name: str | None = None

    def decode(self, limits: Limits, minimum_size: MinimumSize | None = None) -> DecodedImage:
        return self.decoded


@dataclass(frozen=True)
class EncodedImage:
    """The content of an image file."""

    content: bytes
    name: str | None = None

    def decode(self, limits: Limits, minimum_size: MinimumSize | None = None) -> DecodedImage:
        return decode_bytes(self.content, self.name or "", limits, minimum_size)


@dataclass(frozen=True)
class RemoteImage:
    """An image file at a URL, which is read when it is decoded."""

    name: str

    def decode(self, limits: Limits, minimum_size: MinimumSize | None = None) -> DecodedImage:
        return decode_bytes(read_url(self.name), self.name, limits, minimum_size)


@dataclass(frozen=True)
class InvalidImage:
    """Something that is not an image, for `reason`."""

    reason: str
    name: str | None = None

    def decode(self, limits: Limits, minimum_size: MinimumSize | None = None) -> DecodedImage:
        raise ImageError(self.reason)
