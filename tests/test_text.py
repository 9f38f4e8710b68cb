"""Text for terminals."""

from __future__ import annotations

import os

import pytest

from vim_deploy.text import plural, printable


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


def test_plural():
    assert [plural(1, "image"), plural(2, "image")] == ["1 image", "2 images"]
    assert plural(0, "class", "classes") == "0 classes"
