"""Rows of segmentation: what is written is what is read back, in every format, whatever the names."""

from __future__ import annotations

import csv
import json

import pytest

from vim_deploy.errors import OutputError
from vim_deploy.prediction import ClassArea
from vim_deploy.results import Format, Row, Start, open_output, read_rows
from vim_deploy.results.text import codec
from vim_deploy.tasks.segment.figures import SegmentFigures
from vim_deploy.tasks.segment.ground_truth import Agreement

NAMES = ("=wall", 'se"a', "cafe\u0301", "back\\slash", "new\nline")
AREAS = tuple(ClassArea(index, name, 10 - index) for index, name in enumerate(NAMES))
ROWS = [
    Row("a.png", "ok", width=8, height=5, flags=("rotated", "padded"), areas=AREAS),
    Row(
        "b.png",
        "ok",
        width=8,
        height=5,
        areas=AREAS[:1],
        agreement=(Agreement(0, 1, 2, 3), Agreement(4, 0, 0, 9)),
    ),
    Row("c.png", "ok", width=8, height=5, areas=AREAS[:1], agreement=()),
    Row("d.png", "error", reason="damaged file"),
]


@pytest.mark.parametrize("format", list(Format))
def test_rows_come_back_as_they_were(tmp_path, format):
    path = tmp_path / f"out.{format.value}"
    output = open_output(path, format, "segment", 1, {}, Start.NEW)
    assert list(output.previous()) == []
    for row in ROWS:
        output.write(row)
    output.finish()
    output.close()
    assert list(read_rows(path, format, "segment", 1)) == ROWS


def test_a_cell_is_json_as_it_stands_unless_a_name_has_a_backslash_or_a_line_end():
    row = Row("a", "ok", width=8, height=5, areas=(ClassArea(2, "cafe\u0301", 40),))
    (cells,) = csv.reader([codec(Format.CSV, "segment", 1).line(row).decode()])
    assert json.loads(cells[6]) == [{"class": "cafe\u0301", "index": 2, "pixels": 40, "share": 1.0}]


@pytest.mark.parametrize("cell", ["5", "[5]", '[{"index": 0}]', '{"a": 1', "[" * 5000])
def test_an_edited_cell_ends_what_is_kept(cell):
    writer = codec(Format.CSV, "segment", 1)
    line = ",".join(["a.png", "ok", "", "8", "5", "", '"' + cell.replace('"', '""') + '"', ""]) + "\n"
    with pytest.raises(ValueError, match=r"."):
        writer.row(line.encode())


def test_a_row_with_a_class_that_the_model_has_not_is_refused():
    with pytest.raises(OutputError, match="class number 3, and the model has 3 classes"):
        SegmentFigures(NAMES[:3]).count(ROWS[0])
