"""Escaping is reversible, and escaped cells are safe in spreadsheets and terminals."""

from __future__ import annotations

import os
import random

import pytest

from vim_deploy.results import Format, Row
from vim_deploy.results.escape import escape, guard, unescape, unguard
from vim_deploy.results.text import codec
from vim_deploy.tasks.classify.columns import ScoreColumns
from vim_deploy.tasks.classify.result import Classification, Score

# Characters that break lines, cells, quotes, escapes and encodings, and ordinary letters.
PIECES = (
    "a",
    "ß",
    "字",
    "\\",
    "\\x41",
    "\n",
    "\r",
    "\t",
    "\0",
    "\x1b",
    "\u2028",
    "\u202e",
    "\x85",
    '"',
    "'",
    ",",
)
STARTS = ("", "=", "+", "-", "@", "'", "''", "\t=", " =")


def texts(count: int) -> list[str]:
    generator = random.Random(count)
    return [
        generator.choice(STARTS) + "".join(generator.choices(PIECES, k=generator.randrange(8)))
        for _ in range(count)
    ]


def test_paths_are_restored():
    generator = random.Random(0)
    paths = [generator.randbytes(generator.randrange(1, 40)) for _ in range(2000)]
    for data in (*paths, *(text.encode() for text in texts(2000)), b"", b"\xed\xa0\x80", b"\\\\xff"):
        text = escape(os.fsdecode(data))
        assert unescape(text) == data
        assert len(text.encode().decode().splitlines()) <= 1


def test_guarded_cells_are_restored_and_are_not_formulas():
    for text in texts(1000):
        assert unguard(guard(text)) == text
        assert not guard(text).startswith(("=", "+", "-", "@"))


def rows(count: int) -> list[Row]:
    generator = random.Random(count)
    words = [text for text in texts(500) if text]

    def row(status: str) -> Row:
        top = tuple(
            Score(-1, generator.choice(words), generator.choice((0.5, 0.25, 1e-9)))
            for _ in range(generator.randrange(3))
        )
        return Row(
            path=escape(generator.choice(words)),
            status=status,
            reason=generator.choice((None, generator.choice(words))),
            label=generator.choice((None, generator.choice(words))),
            rank=generator.choice((None, 1, 1000)),
            width=generator.choice((None, 1, 99_999)),
            flags=generator.choice(((), ("rotated",), ("rotated", "alpha"))),
            result=Classification(top) if status == "ok" else None,
        )

    return [row(generator.choice(("ok", "error"))) for _ in range(count)]


@pytest.mark.parametrize("format", [Format.CSV, Format.JSONL])
def test_every_row_is_one_line_and_is_restored(format):
    text = codec(format, ScoreColumns(2))
    for row in rows(500):
        line = text.line(row)
        assert line.count(b"\n") == 1 and line.endswith(b"\n")
        assert text.row(line) == row


@pytest.mark.parametrize("format", [Format.CSV, Format.JSONL])
@pytest.mark.parametrize("line", [b"\n", b"\0\n", b"\xff\n", b'"\n', b"{}\n", b"[[[[\n", b"a,b\n", b"null\n"])
def test_other_lines_are_refused(format, line):
    with pytest.raises(ValueError):
        codec(format, ScoreColumns(2)).row(line)
