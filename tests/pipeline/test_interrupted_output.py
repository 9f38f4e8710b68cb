"""Outputs killed at random points: the first rows are kept complete, and no other files are left."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest

from vim_deploy.errors import OutputError
from vim_deploy.pipeline.image_files import ImageFiles
from vim_deploy.results import Format, Row, Start, open_output
from vim_deploy.results.output import FileOutput, companions
from vim_deploy.results.recognize import check_companions
from vim_deploy.tasks.classify.columns import ScoreColumns
from vim_deploy.tasks.classify.result import Classification, Score

FORMATS = [Format.CSV, Format.JSONL, Format.PARQUET]
ROWS = [
    Row(
        path=f"folder/{index:04d}.png",
        status="ok" if index % 7 else "error",
        reason=None if index % 7 else '=damaged, "badly" \\ and\tsplit',
        label="b\u00e9" if index % 3 else None,
        rank=1 if index % 3 else None,
        width=3 if index % 7 else None,
        height=index if index % 7 else None,
        flags=("rotated", "alpha") if index % 5 == 0 else (),
        result=Classification((Score(-1, "@name,", 0.75), Score(-1, "'b", 0.25))) if index % 7 else None,
    )
    for index in range(400)
]


def opened(path: Path, format: Format, start: Start = Start.RESUME, **identity) -> FileOutput:
    output = open_output(path, format, ScoreColumns(2), {"engine": "abc", **identity}, start)
    assert isinstance(output, FileOutput)
    return output


def work(path: Path, format: Format) -> list[Row]:
    """Write all rows, after those of an interrupted run, which are returned."""
    output = opened(path, format)
    kept = list(output.previous())
    for number, row in enumerate(ROWS[len(kept) :]):
        output.write(row)
        if number % 10 == 9:
            output.flush()
    output.finish()
    output.close()
    return kept


def killed(path: Path, format: Format, seconds: float) -> bool:
    """Run `work` in a process that is killed after `seconds`; False if it finished before."""
    child = os.fork()
    if not child:
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds)
            work(path, format)
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGALRM)
    return code != 0


@pytest.mark.parametrize("format", FORMATS)
def test_no_row_is_lost_or_repeated_after_kills_at_random_points(tmp_path, format):
    generator = random.Random(format.value)
    path = tmp_path / "out"
    # The duration of the work varies, so the time limit is adapted.
    within = 0.1
    kills = finished = 0
    for _ in range(25 if format is Format.PARQUET else 50):
        if killed(path, format, generator.uniform(0.0001, within)):
            kills += 1
            within *= 1.3
        else:
            within *= 0.75
        # A kill after the last step leaves a complete run.
        if path.exists() and not (tmp_path / "out.run.json").exists():
            finished += 1
            assert [file.name for file in tmp_path.iterdir()] == ["out"]
            assert read_back(path, format) == ROWS
            path.unlink()
    work(path, format)
    assert read_back(path, format) == ROWS
    assert kills >= 5, (kills, finished)


def read_back(path: Path, format: Format) -> list[Row]:
    """The rows of a complete file, read like those of an interrupted run."""
    from vim_deploy.results.parquet import ParquetParts
    from vim_deploy.results.parts import PartsStore, adopt_part
    from vim_deploy.results.store import TextStore
    from vim_deploy.results.text import codec

    folder = path.with_name("copy")
    if format is Format.PARQUET:
        copy = path.with_name("copied")
        copy.write_bytes(path.read_bytes())
        adopt_part(folder, copy, ParquetParts(ScoreColumns(2)))
        store = PartsStore(folder, ParquetParts(ScoreColumns(2)))
    else:
        folder.write_bytes(path.read_bytes())
        store = TextStore(folder, codec(format, ScoreColumns(2)))
    rows = list(store.rows())
    store.close()
    store.discard()
    return rows


@pytest.mark.parametrize("format", [Format.CSV, Format.JSONL])
def test_a_truncated_file_keeps_the_complete_rows(tmp_path, format):
    path = tmp_path / "out"
    output = opened(path, format)
    list(output.previous())
    for row in ROWS[:5]:
        output.write(row)
    output.close()
    whole = output.partial.read_bytes()
    for cut in range(len(whole)):
        output.partial.write_bytes(whole[:cut])
        again = opened(path, format)
        kept = list(again.previous())
        assert kept == ROWS[: len(kept)]
        assert len(kept) >= whole[:cut].count(b"\n") - (format is Format.CSV)
        assert again.partial.read_bytes() == whole[: len(again.partial.read_bytes())]
        again.close()


def test_parts_are_valid_files(tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("vim_deploy.results.parts.PART_ROWS", 40)
    output = opened(tmp_path / "out.parquet", Format.PARQUET)
    list(output.previous())
    for row in ROWS:
        output.write(row)
    parts = sorted(output.partial.iterdir())
    assert [parquet.read_table(part).num_rows for part in parts] == [40] * 10
    output.finish()
    output.close()
    assert parquet.read_table(tmp_path / "out.parquet").column("path").to_pylist() == [
        row.path for row in ROWS
    ]


def started(path: Path) -> FileOutput:
    output = opened(path, Format.CSV)
    list(output.previous())
    output.write(ROWS[0])
    return output


def test_another_run_is_refused_with_the_option(tmp_path):
    started(tmp_path / "out.csv").close()
    with pytest.raises(OutputError, match="engine was 'abc' and is now 'other'"):
        opened(tmp_path / "out.csv", Format.CSV, engine="other")
    with pytest.raises(OutputError, match="--resume, or discard them with --restart"):
        opened(tmp_path / "out.csv", Format.CSV, Start.NEW)
    (tmp_path / "out.csv.run.json").write_text("{")
    with pytest.raises(OutputError, match="is damaged"):
        opened(tmp_path / "out.csv", Format.CSV)
    (tmp_path / "out.csv.run.json").unlink()
    with pytest.raises(OutputError, match="is missing"):
        opened(tmp_path / "out.csv", Format.CSV)
    output = opened(tmp_path / "out.csv", Format.CSV, Start.RESTART)
    assert list(output.previous()) == []
    output.close()


def test_two_runs_cannot_write_to_one_file(tmp_path):
    first = started(tmp_path / "out.csv")
    for start in (Start.NEW, Start.RESUME, Start.RESTART):
        with pytest.raises(OutputError, match="another run is writing"):
            opened(tmp_path / "out.csv", Format.CSV, start)
    first.finish()
    first.close()
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 2


def test_nothing_to_resume_is_an_error(tmp_path):
    (tmp_path / "out.csv").write_text("complete")
    with pytest.raises(OutputError, match="no interrupted run to resume"):
        opened(tmp_path / "out.csv", Format.CSV)
    assert (tmp_path / "out.csv").read_text() == "complete"


@pytest.mark.parametrize("format", FORMATS)
def test_files_of_a_killed_run_still_belong_to_it_after_a_run_that_ended_before_its_first_row(
    tmp_path, format
):
    path, overlay = tmp_path / "out", tmp_path / "overlay.jpg"
    output = opened(path, format)
    list(output.previous())
    ImageFiles(companions(path).image_files).claim([overlay], "image.png")
    overlay.write_bytes(b"an overlay")
    output.close()  # killed before the row

    output = opened(path, format)
    list(output.previous())
    output.discard()  # ended before the first row
    output.close()

    check_companions(path)
    output = opened(path, format)
    list(output.previous())
    ImageFiles(companions(path).image_files).claim([overlay], "image.png")
    assert not overlay.exists()
    output.discard()
    output.close()
    assert not list(tmp_path.iterdir())
