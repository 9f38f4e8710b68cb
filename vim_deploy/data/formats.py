"""The image formats that are decoded, by Pillow or by pillow-heif where it is installed."""

from __future__ import annotations

import contextlib
import os
from functools import cache
from typing import IO

from PIL import Image, features

# Pillow's names.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "JPEG2000", "PPM", "TGA", "HEIF")
SUFFIXES_OF_TGA = (".tga", ".icb", ".vda", ".vst")
_TGA_FOOTER = b"TRUEVISION-XFILE.\0"


@cache
def available() -> tuple[str, ...]:
    """The formats that have a decoder here."""
    Image.init()
    with contextlib.suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    # The plugin of AVIF is there even if its library is not.
    return tuple(name for name in FORMATS if name in Image.OPEN and _has_library(name))


def _has_library(name: str) -> bool:
    library = {"AVIF": "avif", "JPEG2000": "jpg_2000", "WEBP": "webp"}.get(name)
    return library is None or bool(features.check(library))


def formats_of(file: IO[bytes], name: str | os.PathLike[str]) -> tuple[str, ...]:
    """The decoders to try for a file, whose position is then its start.

    A TGA file starts with nothing that identifies it, and Pillow would take other files for one. Its decoder
    is tried only if the file has the footer of TGA 2 or the suffix of TGA.
    """
    found = available()
    return found if _may_be_tga(file, name) else tuple(item for item in found if item != "TGA")


def _may_be_tga(file: IO[bytes], name: str | os.PathLike[str]) -> bool:
    if os.fsdecode(name).lower().endswith(SUFFIXES_OF_TGA):
        return True
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - len(_TGA_FOOTER)))
    found = file.read(len(_TGA_FOOTER)) == _TGA_FOOTER
    file.seek(0)
    return found
