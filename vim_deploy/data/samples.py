"""Conversion of images with samples of another type or size to 8-bit grayscale or RGB; see decode.py."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from vim_deploy.errors import ImageError

FULL_DEPTH = 16  # bits of a sample in a 16-bit file
LOW_DEPTH = 12  # bits: an image with 16-bit samples that need no more gets this flag
LOW_FLAG = "low_16bit"
_ALPHA_MODES = ("RGBA", "LA", "PA", "La", "RGBa")


@dataclass(frozen=True)
class Samples:
    """What is known of the samples only before the image is loaded.

    `is_16bit`: they have 16 bits when the image is loaded. `was_16bit`: Pillow reduces them to 8 bits while
    it loads the image. `scaled`: Pillow multiplies 16-bit samples, so that they have the full range.
    """

    is_16bit: bool = False
    was_16bit: bool = False
    scaled: bool = False

    @classmethod
    def of(cls, image: Image.Image) -> Samples:
        tiles = getattr(image, "tile", None) or ()  # (decoder, box, offset, arguments with the raw mode)
        words = " ".join(f"{tile[0]} {tile[3]}" for tile in tiles if len(tile) > 3)
        is_16bit = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
        return cls(
            is_16bit,
            was_16bit=not is_16bit and ";16" in words,
            scaled="ppm" in words or image.format == "JPEG2000",
        )


def to_8bit(image: Image.Image, samples: Samples, depth: int) -> tuple[Image.Image, tuple[str, ...]]:
    """A loaded image in mode L or RGB, with flags for the conversions. Raises ImageError.

    `depth`: the number of bits that samples of 16-bit files use.
    """
    if samples.is_16bit:
        values, flags = from_16bit(np.asarray(image), FULL_DEPTH if samples.scaled else depth)
        return Image.fromarray(values), flags
    converted, flags = _to_plain(image)
    if not samples.was_16bit:
        return converted, flags
    if depth != FULL_DEPTH:
        raise ImageError(
            f"16-bit samples with transparency cannot be read with a depth of {depth} bits; convert the "
            "image to 8 bits"
        )
    low = int(np.max(np.asarray(converted), initial=0)) < 1 << (LOW_DEPTH - 8)
    return converted, (*flags, "from_16bit", *((LOW_FLAG,) if low else ()))


def full_samples(image: Image.Image, again: ImageFile.ImageFile) -> np.ndarray | None:
    """The 16-bit samples (height, width, 3) of a loaded RGB image, of which Pillow keeps the high bytes.

    `again`: the same file, opened and not loaded. It is loaded in the other byte order, in which Pillow takes
    the low bytes. None for an image with transparency.
    """
    if image.mode != "RGB" or "transparency" in image.info:
        return None
    again.tile = [tile._replace(args=_swapped(tile.args)) for tile in again.tile]
    again.load()
    high, low = (np.asarray(part).astype(np.uint16) for part in (image, again))
    return high << 8 | low


def _swapped(args: Any) -> Any:
    """A decoder's arguments with the raw mode in the other byte order, such as "RGB;16B"."""
    mode, *rest = (args,) if isinstance(args, str) else args
    other = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}[mode[-1]]
    return f"{mode[:-1]}{other}" if isinstance(args, str) else (f"{mode[:-1]}{other}", *rest)


def _to_plain(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    mode = image.mode
    if mode in _ALPHA_MODES or (mode in ("P", "L", "RGB") and "transparency" in image.info):
        return _on_white(image), ("alpha",)
    if mode in ("L", "RGB"):
        return image, ()
    if mode == "1":
        return image.convert("L"), ()
    if mode in ("P", "YCbCr", "RGBX"):
        return image.convert("RGB"), ()
    if mode == "CMYK":
        return image.convert("RGB"), ("from_cmyk",)
    if mode == "F":
        return Image.fromarray(from_float(np.asarray(image))), ("from_float",)
    raise ImageError(f"pixels of Pillow mode {mode!r} are not supported; convert the image to 8 bits")


def from_16bit(values: np.ndarray, depth: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """16-bit values, of which `depth` bits are used, as 8-bit values, with flags. Raises ImageError."""
    largest = int(np.max(values, initial=0))
    if largest >> depth:
        raise ImageError(f"samples up to {largest} need more than {depth} bits; give another --depth")
    reduced = (values >> (depth - 8)).astype(np.uint8)
    if depth != FULL_DEPTH:
        return reduced, (f"from_{depth}bit",)
    return reduced, ("from_16bit", LOW_FLAG) if not largest >> LOW_DEPTH else ("from_16bit",)


def _on_white(image: Image.Image) -> Image.Image:
    # Pillow does not composite premultiplied modes; convert them to their plain forms first.
    plain = {"La": "LA", "RGBa": "RGBA"}.get(image.mode)
    rgba = (image.convert(plain) if plain else image).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def from_float(values: np.ndarray) -> np.ndarray:
    """Floating-point values in 0..1 as 8-bit values. Raises ImageError for others."""
    low, high = float(np.min(values)), float(np.max(values))
    if not (low >= 0 and high <= 1):  # also true for NaN
        raise ImageError(f"floating-point pixels from {low:g} to {high:g}; expected 0 to 1")
    return np.rint(values * np.float32(255)).astype(np.uint8)
