"""Text for users: the wording of messages, and escaping for terminals."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_DIRECTION_MARKS = "\u200e\u200f\u202a-\u202e\u2066-\u2069"
# A character class for regular expressions: control characters, line and paragraph separators, marks that
# change the direction of text, and bytes that are not UTF-8.
UNSAFE = f"\x00-\x1f\x7f-\x9f\u2028\u2029{_DIRECTION_MARKS}\ud800-\udfff"
_UNSAFE_CHARACTER = re.compile(f"[{UNSAFE}]")
_UNPRINTABLE = re.compile(f"(?!\n)[{UNSAFE}]")


def is_printable(text: str) -> bool:
    """Whether a name can be printed on one line of a terminal as it is."""
    return _UNSAFE_CHARACTER.search(text) is None


def printable(text: str) -> str:
    """For terminals: every unsafe character except the line end as `\\xNN`, byte by byte."""
    return _UNPRINTABLE.sub(lambda match: hexadecimal(match.group()), text)


def hexadecimal(character: str) -> str:
    """A character, or a byte that is not UTF-8 in the form of os.fsdecode, as `\\xNN` for each byte."""
    try:
        data = character.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a lone surrogate; not in paths, but possible in class names
        data = character.encode("utf-8", "surrogatepass")
    return "".join(f"\\x{byte:02x}" for byte in data)


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """The count with its noun: "1 image", "2 images". `nouns`: a plural that is not `noun` + "s"."""
    return f"{count} {noun if count == 1 else nouns or noun + 's'}"


def listed(items: Sequence[object], most: int = 5) -> str:
    """The first items, separated by commas, and the number of the others: "a, b and 3 more"."""
    more = len(items) - most
    return ", ".join(map(str, items[:most])) + (f" and {more} more" if more > 0 else "")


def by(sides: Iterable[int]) -> str:
    """Sizes as "224x224"."""
    return "x".join(map(str, sides))
