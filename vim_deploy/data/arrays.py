"""Arrays as images: (height, width) or (height, width, channels) with 1, 3 (RGB) or 4 (RGBA) channels.

8-bit values are used as they are. Floating-point values must be in 0..1 and are scaled to 0..255 and rounded
(flag `from_float`); 16-bit values are reduced to 8 bits (flag `from_16bit`). RGBA is composited on
white (flag `alpha`). These are the rules for files, see `data/decode.py`. The values are copied.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from vim_deploy.data.decode import DecodedImage, convert
from vim_deploy.data.samples import FULL_DEPTH, from_16bit, from_float
from vim_deploy.errors import ImageError

_CHANNELS = (1, 3, 4)


def image_of(values: np.ndarray, depth: int = FULL_DEPTH) -> DecodedImage:
    """The 8-bit image of an array; `depth`: the bits that 16-bit values use.

    Raises ImageError for another shape, type or range of values.
    """
    _check_shape(values.shape)
    pixels, flags = _bytes_of(values, depth)
    pixels = pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    # Image.fromarray shares the memory of some arrays.
    decoded = convert(Image.fromarray(np.array(pixels, order="C")))
    return DecodedImage(decoded.image, decoded.size, (*flags, *decoded.flags))


def _check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) == 2 or (len(shape) == 3 and shape[2] in _CHANNELS):
        if 0 in shape:
            raise ImageError(f"the array is empty: its shape is {shape}")
        return
    channels_first = len(shape) == 3 and shape[0] in _CHANNELS
    advice = "; its channels are first: use array.transpose(1, 2, 0)" if channels_first else ""
    raise ImageError(
        f"the array has shape {shape}; expected (height, width) or (height, width, channels) with 1, 3 or 4 "
        f"channels{advice}"
    )


def _bytes_of(values: np.ndarray, depth: int) -> tuple[np.ndarray, tuple[str, ...]]:
    if values.dtype == np.uint8:
        return values, ()
    if values.dtype == np.uint16:
        return from_16bit(values, depth)
    if values.dtype.kind == "f":
        return from_float(values), ("from_float",)
    raise ImageError(
        f"the array has the type {values.dtype}; expected uint8, uint16, or floating-point numbers in 0..1"
    )
