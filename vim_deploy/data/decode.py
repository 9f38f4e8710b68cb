"""From a file to an 8-bit grayscale or RGB image, by these rules and no others.

- Formats: JPEG, PNG, WebP, BMP, TIFF and GIF, told by content. Everything else is refused.
- The first frame or page counts (flag `first_frame` when there are more).
- EXIF orientation is applied (flag `rotated`). ICC profiles are left alone: values are used as stored.
- Transparency, in whatever form, is composited on white (flag `alpha`).
- CMYK becomes RGB by Pillow's plain formula (flag `from_cmyk`).
- 16-bit samples keep their high byte (flag `from_16bit`); Pillow does the same to 16-bit colour.
- Floating-point samples must lie in 0..1, which becomes 0..255, rounded (flag `from_float`).
- Images of more pixels or metadata than the limits are refused before they are decoded.
- Where asked for, a JPEG file is decoded at a half, a quarter or an eighth of its size, never below what is
  needed of it (flag `reduced`); pixels differ a little from those of the whole.
- A file that changes while it is read is refused.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, TypeAlias

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from vim_deploy.errors import ImageError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
_TURNED = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
_ALPHA_MODES = ("RGBA", "LA", "PA", "La", "RGBa")

# From (width, height) of the upright image to the size it must have at least.
Needed: TypeAlias = Callable[[int, int], tuple[int, int]]

# First bytes of what people take for images: (offset, signature, name).
_REFUSED_SIGNATURES = (
    (4, b"ftypheic", "HEIC"),
    (4, b"ftypheix", "HEIC"),
    (4, b"ftypmif1", "HEIF"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypavis", "AVIF"),
    (0, b"%!PS", "PostScript or EPS"),
    (0, b"\xc5\xd0\xd3\xc6", "EPS"),
    (0, b"%PDF", "PDF"),
    (0, b"<svg", "SVG"),
    (0, b"<?xml", "XML or SVG"),
    (0, b"8BPS", "Photoshop"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
)


@dataclass(frozen=True)
class Limits:
    """What one file may cost. `seconds` is for whoever decodes in a process of its own; None: no limit.

    `reduced_jpeg`: JPEG files may be decoded at a smaller size, where the caller of `decode` says what it
    needs.
    """

    max_pixels: int = 89_478_485
    max_metadata: int = 16 << 20  # bytes of EXIF, ICC, XMP, comments and texts together
    seconds: float | None = 60.0
    reduced_jpeg: bool = False


@dataclass(frozen=True)
class DecodedImage:
    """An upright image of mode L or RGB, and what was done to make it so."""

    image: Image.Image
    size: tuple[int, int]  # width, height, upright; `image` is smaller where it was reduced
    flags: tuple[str, ...]


def decode(
    path: str | os.PathLike[str], limits: Limits | None = None, needed: Needed | None = None
) -> DecodedImage:
    """Read an image file. `needed` tells the smallest size that serves, for `limits.reduced_jpeg`.

    Raises ImageError for anything that is not a whole image of a known format; the message is the reason
    alone, since the caller has the path.
    """
    if "\0" in os.fsdecode(path):
        raise ImageError("cannot be read: the name holds a zero byte")
    try:
        with _open_regular_file(path) as file:
            before = _state(file)
            try:
                decoded = _decode_file(file, limits or Limits(), needed)
            except ImageError:
                _refuse_changed(before, file)  # the better reason of the two
                raise
            _refuse_changed(before, file)
            return decoded
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror or error}") from None


def load_image(
    source: str | os.PathLike[str] | Image.Image, limits: Limits | None = None, needed: Needed | None = None
) -> DecodedImage:
    """`decode` for a path, `convert` for an image already in memory. Raises ImageError."""
    if not isinstance(source, Image.Image):
        return decode(source, limits, needed)
    try:
        return convert(source)
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        raise ImageError(f"damaged {_one_line(error)}") from error


def convert(image: Image.Image) -> DecodedImage:
    """Apply the module's rules to an image that Pillow has opened. Raises ImageError."""
    flags = []
    if getattr(image, "is_animated", False):
        flags.append("first_frame")
    if image.width < 1 or image.height < 1:
        raise ImageError(f"the image is empty ({image.width} x {image.height} pixels)")
    orientation = _orientation(image)
    image.load()
    if 2 <= orientation <= 8:
        flags.append("rotated")
        # TIFF images were turned by load() already, and then this finds nothing left to do.
        image = ImageOps.exif_transpose(image)
    image, flag = _to_8bit(image)
    if flag:
        flags.append(flag)
    return DecodedImage(image, image.size, tuple(flags))


def _open_regular_file(path: str | os.PathLike[str]) -> IO[bytes]:
    # Opening a FIFO would wait for a writer, hence O_NONBLOCK and the look before anything is read.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise ImageError("is a folder" if stat.S_ISDIR(mode) else "is not a regular file")
    return os.fdopen(descriptor, "rb")


def _state(file: IO[bytes]) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def _refuse_changed(before: tuple[int, int], file: IO[bytes]) -> None:
    if _state(file) != before:
        raise ImageError("the file changed while it was read")


def _decode_file(file: IO[bytes], limits: Limits, needed: Needed | None) -> DecodedImage:
    try:
        with Image.open(file, formats=FORMATS) as image:
            _check_limits(image, limits)
            if needed is not None and limits.reduced_jpeg and image.format == "JPEG":
                return _reduced(image, needed)
            return convert(image)
    except UnidentifiedImageError:
        file.seek(0)
        raise ImageError(_why_unknown(file.read(64))) from None
    except (ImageError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise ImageError(f"more pixels than the limit of {limits.max_pixels}") from None
    # Pillow's readers answer damaged files with errors of many kinds (struct.error, SyntaxError, ...).
    except Exception as error:
        raise ImageError(f"damaged {_one_line(error)}") from error


def _reduced(image: Image.Image, needed: Needed) -> DecodedImage:
    """`convert`, with the decoder told to give a fraction of the pixels where that is enough."""
    whole, turned = image.size, _orientation(image) in _TURNED
    width, height = _swapped(needed(*_swapped(whole, turned)), turned)
    image.draft(image.mode, (max(1, width), max(1, height)))
    reduced = image.size != whole
    decoded = convert(image)
    if not reduced:
        return decoded
    return DecodedImage(decoded.image, _swapped(whole, turned), (*decoded.flags, "reduced"))


def _swapped(size: tuple[int, int], swap: bool) -> tuple[int, int]:
    return (size[1], size[0]) if swap else size


def _orientation(image: Image.Image) -> int:
    """EXIF's, 1 where there is none or nonsense."""
    value = image.getexif().get(ExifTags.Base.Orientation, 1)
    return value if isinstance(value, int) else 1


def _check_limits(image: Image.Image, limits: Limits) -> None:
    if image.width * image.height > limits.max_pixels:
        raise ImageError(
            f"{image.width} x {image.height} pixels are more than the limit of {limits.max_pixels} pixels"
        )
    metadata = _bytes_in(image.info)
    if metadata > limits.max_metadata:
        raise ImageError(f"{metadata} bytes of metadata are more than the limit of {limits.max_metadata}")


def _bytes_in(value: Any) -> int:
    if isinstance(value, dict):
        return sum(_bytes_in(entry) for entry in value.values())
    if isinstance(value, (list, tuple)):
        return sum(map(_bytes_in, value))
    return len(value) if isinstance(value, (bytes, str)) else 0


def _why_unknown(head: bytes) -> str:
    if not head:
        return "the file is empty"
    known = ", ".join(FORMATS)
    for offset, signature, name in _REFUSED_SIGNATURES:
        if head[offset : offset + len(signature)] == signature:
            return f"{name} is not supported; expected one of {known}"
    return f"not an image, or a damaged one; expected one of {known}"


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"file ({type(error).__name__}: {text[:200]})" if text else f"file ({type(error).__name__})"


def _to_8bit(image: Image.Image) -> tuple[Image.Image, str | None]:
    mode = image.mode
    if mode in _ALPHA_MODES or (mode in ("P", "L", "RGB") and "transparency" in image.info):
        return _on_white(image), "alpha"
    if mode in ("L", "RGB"):
        return image, None
    if mode == "1":
        return image.convert("L"), None
    if mode in ("P", "YCbCr", "RGBX"):
        return image.convert("RGB"), None
    if mode == "CMYK":
        return image.convert("RGB"), "from_cmyk"
    if mode.startswith("I;16") or (mode == "I" and image.format == "PNG"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)), "from_16bit"
    if mode == "F":
        return _from_float(np.asarray(image)), "from_float"
    raise ImageError(f"pixels of Pillow mode {mode!r} have no stated scaling; convert the image to 8 bits")


def _on_white(image: Image.Image) -> Image.Image:
    # Pillow composites premultiplied modes only through their plain forms.
    plain = {"La": "LA", "RGBa": "RGBA"}.get(image.mode)
    rgba = (image.convert(plain) if plain else image).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _from_float(values: np.ndarray) -> Image.Image:
    low, high = float(np.min(values)), float(np.max(values))
    if not (low >= 0 and high <= 1):  # also true for NaN
        raise ImageError(f"floating-point pixels from {low:g} to {high:g}; expected 0 to 1")
    return Image.fromarray(np.rint(values * 255).astype(np.uint8))
