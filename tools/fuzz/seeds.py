"""Valid images to mutate, in every format and nearly every pixel type that the decoder supports."""

from __future__ import annotations

import io
import random
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo


def images() -> dict[str, bytes]:
    """File names to contents."""
    base = _noise()
    exif = Image.Exif()
    exif[0x0112] = 6
    text = PngInfo()
    text.add_text("comment", "text " * 50, zip=True)
    sixteen = Image.frombytes("I;16", (16, 16), random.Random(1).randbytes(512))
    frames: dict[str, Any] = {"save_all": True, "append_images": [base.rotate(90), base.rotate(180)]}
    return {
        "jpeg": _saved(base, "JPEG", exif=exif, quality=70),
        "jpeg-progressive": _saved(base, "JPEG", progressive=True),
        "jpeg-gray": _saved(base.convert("L"), "JPEG"),
        "jpeg-cmyk": _saved(base.convert("CMYK"), "JPEG"),
        "png": _saved(base, "PNG", pnginfo=text, exif=exif),
        "png-palette": _saved(base.convert("P"), "PNG", transparency=3),
        "png-alpha": _saved(base.convert("RGBA"), "PNG"),
        "png-la": _saved(base.convert("LA"), "PNG"),
        "png-16": _saved(sixteen, "PNG"),
        "png-1": _saved(base.convert("1"), "PNG"),
        "png-animated": _saved(base, "PNG", **frames),
        "webp": _saved(base, "WEBP", exif=exif),
        "webp-lossless": _saved(base.convert("RGBA"), "WEBP", lossless=True),
        "webp-animated": _saved(base, "WEBP", **frames),
        "bmp": _saved(base, "BMP"),
        "bmp-palette": _saved(base.convert("P"), "BMP"),
        "tiff": _saved(base, "TIFF", exif=exif),
        "tiff-lzw": _saved(base, "TIFF", compression="tiff_lzw"),
        "tiff-deflate": _saved(base, "TIFF", compression="tiff_adobe_deflate"),
        "tiff-jpeg": _saved(base, "TIFF", compression="jpeg"),
        "tiff-group4": _saved(base.convert("1"), "TIFF", compression="group4"),
        "tiff-float": _saved(base.convert("F").point(lambda value: value / 256), "TIFF"),
        "tiff-16": _saved(sixteen, "TIFF"),
        "tiff-pages": _saved(base, "TIFF", **frames),
        "gif": _saved(base.convert("P"), "GIF"),
        "gif-animated": _saved(base, "GIF", **frames),
        "avif": _saved(base, "AVIF", exif=exif),
        "avif-alpha": _saved(base.convert("RGBA"), "AVIF"),
        "avif-animated": _saved(base, "AVIF", **frames),
        "jpeg2000": _saved(base, "JPEG2000"),
        "jpeg2000-codestream": _saved(base, "JPEG2000", no_jp2=True),
        "jpeg2000-16": _saved(sixteen, "JPEG2000"),
        "ppm": _saved(base, "PPM"),
        "pgm-16": _saved(sixteen, "PPM"),
        "pbm": _saved(base.convert("1"), "PPM"),
        "tga": _saved(base, "TGA"),
        "tga-rle": _saved(base.convert("RGBA"), "TGA", compression="tga_rle"),
        "tga-palette": _saved(base.convert("P"), "TGA"),
    }


def _noise() -> Image.Image:
    noise = Image.frombytes("RGB", (12, 10), random.Random(0).randbytes(360))
    return noise.resize((40, 33), Image.Resampling.BICUBIC)


def _saved(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()
