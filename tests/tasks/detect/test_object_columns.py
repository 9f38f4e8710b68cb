"""Rows of detection are read back as they were written, in every format and for any class names."""

from __future__ import annotations

import csv

import pytest

from vim_deploy.results import Format, Row, Start, open_output, read_rows
from vim_deploy.results.text import codec
from vim_deploy.tasks.detect.columns import ObjectColumns
from vim_deploy.tasks.detect.result import Detection

NAMES = ("=wall", 'se"a', "cafe\u0301", "back\\slash", "new\nline")
OBJECTS = tuple(
    Detection(index, name, 0.9 - index / 10, (0.125, 1.5, 7.0, 4.875), "oP\\b0`3")
    for index, name in enumerate(NAMES)
)
ROWS = [
    Row("a.png", "ok", width=8, height=5, flags=("rotated",), result=OBJECTS),
    Row("b.png", "ok", width=8, height=5, result=(Detection(1, "x", 0.5, (0.0, 0.0, 1.0, 1.0)),)),
    Row("c.png", "ok", width=8, height=5, result=()),
    Row("d.png", "error", reason="damaged file"),
]


@pytest.mark.parametrize("format", list(Format))
def test_rows_are_read_back_unchanged(tmp_path, format):
    path = tmp_path / f"out.{format.value}"
    output = open_output(path, format, ObjectColumns(), {}, Start.NEW)
    assert list(output.previous()) == []
    for row in ROWS:
        output.write(row)
    output.finish()
    output.close()
    assert list(read_rows(path, format, ObjectColumns())) == ROWS


def test_the_best_column_has_the_best_score_of_each_class():
    twice = (Detection(0, "cat", 0.9, (0, 0, 1, 1)), Detection(1, "dog", 0.8, (0, 0, 1, 1)))
    row = Row("a.png", "ok", width=8, height=5, result=(*twice, Detection(0, "cat", 0.7, (0, 0, 1, 1))))
    (cells,) = csv.reader([codec(Format.CSV, ObjectColumns()).line(row).decode()])
    assert cells[6:8] == ["3", "cat: 0.900; dog: 0.800"]


@pytest.mark.parametrize("cell", ["5", "[5]", '[{"index": 0}]', '{"a": 1', "[" * 5000])
def test_edited_cells_are_refused(cell):
    line = ",".join(["a.png", "ok", "", "8", "5", "", "1", "", '"' + cell.replace('"', '""') + '"']) + "\n"
    with pytest.raises(ValueError, match=r"."):
        codec(Format.CSV, ObjectColumns()).row(line.encode())
