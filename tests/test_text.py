"""Text for terminals."""

from __future__ import annotations

import os

import pytest

from vim_deploy.text import is_printable, plural, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\nlines with a \\ and ü", "two\nlines with a \\ and ü"),
        ("\x1b]0;title\a", r"\x1b]0;title\x07"),
        ("\x9b31m\x7f\r\t", r"\xc2\x9b31m\x7f\x0d\x09"),
        ("\u202egnp.exe", r"\xe2\x80\xaegnp.exe"),
        (os.fsdecode(b"\xff.png"), r"\xff.png"),
    ],
)
def test_printable(text: str, shown: str):
    assert printable(text) == shown


@pytest.mark.parametrize("text", ["a\nb", "\x00", "\u2028", "\u202e", "\ud800"])
def test_names_with_control_characters_and_direction_marks_are_not_printable(text: str):
    assert not is_printable(text)
    assert is_printable("Größe 猫 \\")


def test_plural():
    assert [plural(1, "image"), plural(2, "image")] == ["1 image", "2 images"]
    assert plural(0, "class", "classes") == "0 classes"
