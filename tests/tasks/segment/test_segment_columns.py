"""Rows of segmentation are read back as they were written, in every format and for any class names."""

from __future__ import annotations

import csv
import json

import pytest

from vim_deploy.errors import OutputError
from vim_deploy.results import Format, Row, Start, open_output, read_rows
from vim_deploy.results.text import codec
from vim_deploy.tasks.segment.columns import SegmentColumns
from vim_deploy.tasks.segment.result import ClassArea, ClassOverlap, SegmentationRow
from vim_deploy.tasks.segment.statistics import SegmentStatistics

NAMES = ("=wall", 'se"a', "cafe\u0301", "back\\slash", "new\nline")
AREAS = tuple(ClassArea(index, name, 10 - index) for index, name in enumerate(NAMES))
ROWS = [
    Row("a.png", "ok", width=8, height=5, flags=("rotated", "padded"), result=SegmentationRow(AREAS)),
    Row(
        "b.png",
        "ok",
        width=8,
        height=5,
        result=SegmentationRow(AREAS[:1], (ClassOverlap(0, 1, 2, 3), ClassOverlap(4, 0, 0, 9))),
    ),
    Row("c.png", "ok", width=8, height=5, result=SegmentationRow(AREAS[:1], ())),
    Row("d.png", "error", reason="damaged file"),
]


@pytest.mark.parametrize("format", list(Format))
def test_rows_are_read_back_unchanged(tmp_path, format):
    path = tmp_path / f"out.{format.value}"
    output = open_output(path, format, SegmentColumns(), {}, Start.NEW)
    assert list(output.previous()) == []
    for row in ROWS:
        output.write(row)
    output.finish()
    output.close()
    assert list(read_rows(path, format, SegmentColumns())) == ROWS


def test_cells_are_json():
    row = Row("a", "ok", width=8, height=5, result=SegmentationRow((ClassArea(2, "cafe\u0301", 40),)))
    (cells,) = csv.reader([codec(Format.CSV, SegmentColumns()).line(row).decode()])
    assert json.loads(cells[6]) == [{"class": "cafe\u0301", "index": 2, "pixels": 40, "share": 1.0}]


@pytest.mark.parametrize("cell", ["5", "[5]", '[{"index": 0}]', '{"a": 1', "[" * 5000])
def test_edited_cells_are_refused(cell):
    writer = codec(Format.CSV, SegmentColumns())
    line = ",".join(["a.png", "ok", "", "8", "5", "", '"' + cell.replace('"', '""') + '"', ""]) + "\n"
    with pytest.raises(ValueError, match=r"."):
        writer.row(line.encode())


def test_a_row_with_an_unknown_class_is_refused():
    with pytest.raises(OutputError, match="class index 3, but the model has 3 classes"):
        SegmentStatistics(NAMES[:3]).count(ROWS[0])
