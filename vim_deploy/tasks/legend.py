"""Shared by the tasks that draw predictions on images: fonts, text and the legend below an image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from PIL import Image, ImageDraw, ImageFont

Color: TypeAlias = "tuple[int, int, int]"
Font: TypeAlias = "ImageFont.FreeTypeFont | ImageFont.ImageFont"
LegendEntry: TypeAlias = "tuple[str, Color | None]"  # text, and the color of the square before it

_DARK = 128  # text is white on colors with a lower mean
_FONT_SIZES = (11, 72)
_LEGEND_WIDTH = 160  # at least, for small images
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)


def font_for(size: tuple[int, int]) -> Font:
    """A font that is readable on an image of this size."""
    smallest, largest = _FONT_SIZES
    return ImageFont.load_default(max(smallest, min(largest, min(size) // 40)))


def height_of(font: Font) -> int:
    """The height of a line of text in pixels."""
    return int(font.getbbox("Ág")[3]) + 1


def text_color(background: Color) -> Color:
    """Black or white, whichever is readable."""
    return _WHITE if sum(background) / 3 < _DARK else _BLACK


def with_legend(image: Image.Image, entries: Sequence[LegendEntry]) -> Image.Image:
    """`image` with the entries on white below it, in as many lines as they need."""
    if not entries:
        return image
    font = font_for(image.size)
    line, width = height_of(font) + 2, max(image.width, _LEGEND_WIDTH)
    texts = [(_shortened(text, font, width - 2 * line), color) for text, color in entries]
    lines = list(_lines(texts, font, width - line, line))
    result = Image.new("RGB", (width, image.height + len(lines) * line + line // 2), _WHITE)
    result.paste(image, (0, 0))
    draw = ImageDraw.Draw(result)
    for number, content in enumerate(lines):
        top = image.height + line // 4 + number * line
        left = line // 2
        for text, color in content:
            if color is not None:
                square = (left, top + 2, left + line - 5, top + line - 3)
                draw.rectangle(square, fill=color, outline=_BLACK)
                left += line
            draw.text((left, top), text, fill=_BLACK, font=font)
            left += int(font.getlength(text)) + line
    return result


def _shortened(text: str, font: Font, width: float) -> str:
    """The text, cut so that it fits into `width` pixels."""
    if font.getlength(text) <= width:
        return text
    while len(text) > 1 and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def _lines(entries: Iterable[LegendEntry], font: Font, width: int, line: int) -> Iterator[list[LegendEntry]]:
    """The entries, divided into lines of at most `width` pixels."""
    current: list[LegendEntry] = []
    used = 0
    for text, color in entries:
        needed = int(font.getlength(text)) + line * (1 if color is None else 2)
        if current and used + needed > width + line:  # the last entry needs no gap after it
            yield current
            current, used = [], 0
        current.append((text, color))
        used += needed
    yield current
