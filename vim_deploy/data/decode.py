"""Decodes a file to an 8-bit grayscale or RGB image, by these rules:

- Formats: JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF, JPEG 2000, PPM (PBM, PGM), TGA, and HEIC if pillow-heif is
  installed, detected by content; TGA by its footer or the file's suffix. Others are refused.
- Only the first frame or page is read (flag `first_frame` if there are more).
- EXIF orientation is applied (flag `rotated`). ICC profiles are ignored: values are used as stored.
- Transparency of any kind is composited on white (flag `alpha`).
- CMYK is converted to RGB by Pillow, without color management (flag `from_cmyk`).
- 16-bit samples are reduced to their high byte (flag `from_16bit`); Pillow does the same for 16-bit color.
  If no sample needs more than 12 bits, the image is almost black (flag `low_16bit`). With another `depth` in
  the limits, samples are numbers of so many bits, and the highest 8 are kept (flag `from_12bit`).
- Floating-point samples must be in 0..1 and are scaled to 0..255 and rounded (flag `from_float`).
- Images with more pixels or metadata than the limits are refused before they are decoded.
- On request, a JPEG file is decoded at a half, a quarter or an eighth of its size, but not below the minimum
  size (flag `reduced`); its pixels differ slightly from those of the full size.
- A file that changes while it is read is refused.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, TypeAlias

from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

from vim_deploy.data.formats import formats_of
from vim_deploy.data.samples import FULL_DEPTH, Samples, from_16bit, full_samples, to_8bit
from vim_deploy.data.unsupported import reason_of
from vim_deploy.errors import ImageError
from vim_deploy.files import open_regular

# In addition to the pixels: the interpreter, its libraries, and the decoders' buffers.
_BASE_MEMORY = 1 << 30
_BYTES_PER_PIXEL = 32
_TRANSPOSED = (5, 6, 7, 8)  # EXIF orientations that swap width and height

# From (width, height) of the upright image to the minimum size that it must be decoded at.
MinimumSize: TypeAlias = Callable[[int, int], tuple[int, int]]


@dataclass(frozen=True)
class Limits:
    """Limits for one file. `seconds` and `memory` apply only to decoder processes; None: no limit.

    `reduced_jpeg`: decode JPEG files at a reduced size if the caller of `decode` gives a minimum size.
    `depth`: the bits that samples in 16-bit files use.
    """

    max_pixels: int = 89_478_485
    max_metadata: int = 16 << 20  # bytes of EXIF, ICC, XMP, comments and texts together
    seconds: float | None = 60.0
    reduced_jpeg: bool = False
    depth: int = FULL_DEPTH

    @property
    def memory(self) -> int:
        """The bytes of memory that a decoder process may use."""
        return _BASE_MEMORY + _BYTES_PER_PIXEL * self.max_pixels


@dataclass(frozen=True)
class DecodedImage:
    """An upright image of mode L or RGB, with flags for the conversions."""

    image: Image.Image
    size: tuple[int, int]  # width, height, upright; `image` is smaller if it was reduced
    flags: tuple[str, ...]


def decode(
    path: str | os.PathLike[str],
    limits: Limits | None = None,
    minimum_size: MinimumSize | None = None,
    name: str | None = None,
) -> DecodedImage:
    """Read an image file. `minimum_size` is used by `limits.reduced_jpeg`. `name`: see `decode_bytes`.

    Raises ImageError for anything but a complete image of a supported format; the message does not contain
    the path.
    """
    if "\0" in os.fsdecode(path):
        raise ImageError("cannot be read: the name contains a zero byte")
    try:
        with open_regular(path) as file:
            before = _state(file)
            try:
                decoded = _decode_file(file, name or path, limits or Limits(), minimum_size)
            except ImageError:
                _refuse_changed(before, file)  # the more precise reason
                raise
            _refuse_changed(before, file)
            return decoded
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror or error}") from None


def decode_bytes(
    content: bytes, name: str = "", limits: Limits | None = None, minimum_size: MinimumSize | None = None
) -> DecodedImage:
    """`decode` for the content of an image file that is called `name`. Raises ImageError."""
    return _decode_file(io.BytesIO(content), name, limits or Limits(), minimum_size)


def decode_pillow(image: Image.Image, limits: Limits | None = None) -> DecodedImage:
    """`convert`; every error of Pillow is an ImageError."""
    try:
        return convert(image, (limits or Limits()).depth)
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        raise ImageError(f"damaged {_one_line(error)}") from error


def convert(
    image: Image.Image, depth: int = FULL_DEPTH, reopen: Callable[[], ImageFile.ImageFile] | None = None
) -> DecodedImage:
    """Apply the module's rules to an image that Pillow has opened. Raises ImageError.

    `reopen` opens the same file again, which 16-bit color with another depth needs.
    """
    flags = []
    if getattr(image, "is_animated", False):
        flags.append("first_frame")
    if image.width < 1 or image.height < 1:
        raise ImageError(f"the image is empty ({image.width} x {image.height} pixels)")
    orientation, samples = _orientation(image), Samples.of(image)
    image.load()
    depth_flags: tuple[str, ...] = ()
    if samples.was_16bit and depth != FULL_DEPTH and reopen is not None:
        with reopen() as again:
            full = full_samples(image, again)
        if full is not None:
            values, depth_flags = from_16bit(full, depth)
            left = _orientation(image)  # that load() has not applied
            image, samples = Image.fromarray(values), Samples()
            image.getexif()[ExifTags.Base.Orientation] = left
    if 2 <= orientation <= 8:
        flags.append("rotated")
        # load() has already rotated TIFF images; this does nothing then.
        image = ImageOps.exif_transpose(image)
    image, conversions = to_8bit(image, samples, depth)
    return DecodedImage(image, image.size, (*flags, *depth_flags, *conversions))


def _state(file: IO[bytes]) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def _refuse_changed(before: tuple[int, int], file: IO[bytes]) -> None:
    if _state(file) != before:
        raise ImageError("the file changed while it was read")


def _decode_file(
    file: IO[bytes], name: str | os.PathLike[str], limits: Limits, minimum_size: MinimumSize | None
) -> DecodedImage:
    try:
        with Image.open(file, formats=formats_of(file, name)) as image:
            _check_limits(image, limits)
            if minimum_size is not None and limits.reduced_jpeg and image.format == "JPEG":
                return _reduced(image, minimum_size)
            return convert(image, limits.depth, lambda: Image.open(file, formats=formats_of(file, name)))
    except UnidentifiedImageError:
        raise ImageError(reason_of(file)) from None
    except (ImageError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise ImageError(f"more pixels than the limit of {limits.max_pixels}") from None
    # Pillow raises many types of errors for damaged files (struct.error, SyntaxError, ...).
    except Exception as error:
        raise ImageError(f"damaged {_one_line(error)}") from error


def _reduced(image: Image.Image, minimum_size: MinimumSize) -> DecodedImage:
    """`convert` at the smallest size of the decoder that is not below the minimum."""
    full_size, transposed = image.size, _orientation(image) in _TRANSPOSED
    width, height = _swapped(minimum_size(*_swapped(full_size, transposed)), transposed)
    image.draft(image.mode, (max(1, width), max(1, height)))
    reduced = image.size != full_size
    decoded = convert(image)
    if not reduced:
        return decoded
    return DecodedImage(decoded.image, _swapped(full_size, transposed), (*decoded.flags, "reduced"))


def _swapped(size: tuple[int, int], swap: bool) -> tuple[int, int]:
    return (size[1], size[0]) if swap else size


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 if it is missing or invalid."""
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


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"file ({type(error).__name__}: {text[:200]})" if text else f"file ({type(error).__name__})"
