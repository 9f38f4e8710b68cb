"""Why a file is not decoded: the name of its format, or what a TIFF file contains."""

from __future__ import annotations

from typing import IO, Any

from PIL import TiffImagePlugin

from vim_deploy.data.formats import available

# First bytes of other image formats: (offset, signature, name, Pillow's name if a decoder may be installed).
_SIGNATURES = (
    (4, b"ftypheic", "HEIC", "HEIF"),
    (4, b"ftypheix", "HEIC", "HEIF"),
    (4, b"ftypmif1", "HEIF", "HEIF"),
    (4, b"ftypavif", "AVIF", "AVIF"),
    (4, b"ftypavis", "AVIF", "AVIF"),
    (0, b"%!PS", "PostScript or EPS", ""),
    (0, b"\xc5\xd0\xd3\xc6", "EPS", ""),
    (0, b"%PDF", "PDF", ""),
    (0, b"<svg", "SVG", ""),
    (0, b"<?xml", "XML or SVG", ""),
    (0, b"8BPS", "Photoshop", ""),
    (0, b"\xff\x0a", "JPEG XL", ""),
    (0, b"\x00\x00\x00\x0cJXL ", "JPEG XL", ""),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG 2000", "JPEG2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000", "JPEG2000"),
)
_TIFF = (b"II*\0", b"MM\0*")
_BITS = {8, 16, 32, 64}
_MOST_SAMPLES = 1000  # of multispectral images; damaged files have other numbers
_SAMPLES = {1: "unsigned", 2: "signed", 3: "floating-point"}  # values of the tag SampleFormat


def reason_of(file: IO[bytes]) -> str:
    """The reason for a file that none of the decoders recognizes."""
    file.seek(0)
    head = file.read(64)
    if not head:
        return "the file is empty"
    known = ", ".join(available())
    for offset, signature, name, decoder in _SIGNATURES:
        if head[offset : offset + len(signature)] == signature and decoder not in available():
            how = " without the package pillow-heif" if decoder == "HEIF" else ""
            return f"{name} is not supported{how}; expected one of {known}"
    if head.startswith(_TIFF) and (samples := _samples_of(file, head)) is not None:
        return (
            f"a TIFF file with {samples} per pixel is not supported; expected grayscale, RGB or CMYK with 8 "
            "or 16 bits, or one floating-point sample of 32 bits"
        )
    return f"not an image, or damaged; expected one of {known}"


def _samples_of(file: IO[bytes], head: bytes) -> str | None:
    """The samples of a pixel, such as "5 unsigned samples of 8 bits".

    None if the file does not tell them, or if they are supported and something else is wrong.
    """
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(head[:8])
        file.seek(tags.next)
        tags.load(file)
        bits = set(_numbers(tags[TiffImagePlugin.BITSPERSAMPLE]))
        count = _numbers(tags.get(TiffImagePlugin.SAMPLESPERPIXEL, 1))[0]
        kind = _SAMPLES[_numbers(tags.get(TiffImagePlugin.SAMPLEFORMAT, 1))[0]]
    except Exception:  # Pillow raises many types of errors for damaged files
        return None
    if len(bits) != 1 or not bits <= _BITS or not 1 <= count <= _MOST_SAMPLES:
        return None
    (size,) = bits
    is_usual = kind == "unsigned" and count <= 4 and size <= 16  # up to CMYK, or RGB and transparency
    if is_usual or (kind, count, size) == ("floating-point", 1, 32):
        return None
    return f"{count} {kind} {'sample' if count == 1 else 'samples'} of {size} bits"


def _numbers(value: Any) -> tuple[int, ...]:
    return tuple(map(int, value)) if isinstance(value, tuple) else (int(value),)
