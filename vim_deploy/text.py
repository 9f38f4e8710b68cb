"""Wording of messages."""

from __future__ import annotations


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """The count with its noun: "1 image", "2 images". `nouns`: a plural that is not `noun` + "s"."""
    return f"{count} {noun if count == 1 else nouns or noun + 's'}"
