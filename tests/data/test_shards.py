"""Images in tar files and in Parquet files."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from infer_command import json_rows, make_engine, make_images, run
from PIL import Image

from vim_deploy import load
from vim_deploy.validation.inputs import real_inputs


@pytest.fixture(autouse=True)
def photos(tmp_path: Path, monkeypatch) -> list[str]:
    """Images in the folder `photos`, one damaged, and an engine."""
    monkeypatch.chdir(tmp_path)
    make_engine()
    paths = make_images("photos", 20)
    Path(paths[7]).write_bytes(b"\x89PNG\r\n\x1a\nnot more")
    return paths


def rows_of(inputs: str, *options: object) -> list[dict]:
    result = run("colors.engine", inputs, "-o", "rows.jsonl", "--restart", *options)
    assert result.exit_code == 1, result.output
    found = json_rows("rows.jsonl")
    Path("rows.jsonl").unlink()
    return found


def without_path(rows: list[dict]) -> list[dict]:
    return [{name: value for name, value in row.items() if name != "path"} for row in rows]


def write_tar(path: str, images: list[str]) -> None:
    Path(path).parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for image in images:
            archive.add(image, Path(image).name)
            about = tarfile.TarInfo(f"{Path(image).stem}.json")
            about.size = 2
            archive.addfile(about, io.BytesIO(b"{}"))


def test_images_in_tar_files(photos):
    write_tar("shards/000.tar", photos[:12])
    write_tar("shards/001.tar", photos[12:])
    found, expected = rows_of("shards"), rows_of("photos")
    assert without_path(found) == without_path(expected)
    assert [found[0]["path"], found[-1]["path"]] == ["shards/000.tar/00000.png", "shards/001.tar/00019.png"]


def test_overlays_and_report_of_images_in_tar_files(photos):
    write_tar("shards/000.tar", photos)
    rows = rows_of("shards", "--overlays", "overlays", "--report", "report.html")
    assert sum(row["status"] == "ok" for row in rows) == 19
    Image.open("overlays/000.tar/00003.jpg").verify()
    assert "data:image/jpeg" in Path("report.html").read_text()


@pytest.mark.parametrize("structures", [False, True])
def test_images_in_parquet_files(photos, structures):
    contents = [Path(path).read_bytes() for path in photos]
    values = [{"bytes": content, "path": "x.png"} for content in contents] if structures else contents
    table = pyarrow.table({"id": range(20), "image": values})
    pyarrow.parquet.write_table(table, "images.parquet", row_group_size=6)
    found = rows_of("images.parquet")
    assert without_path(found) == without_path(rows_of("photos"))
    assert found[13]["path"] == "images.parquet/13"


@pytest.mark.parametrize("source", ["shards", "shards/000.tar"])
def test_python_reads_images_in_tar_files(photos, source):
    write_tar("shards/000.tar", photos)
    with load("colors.engine") as model:
        found = model.predict(source)
    assert [result.ok for result in found] == [number != 7 for number in range(20)]
    assert found[0].plot(legend=False).size == found[0].size


def test_images_to_compare_on_may_be_in_tar_files(photos):
    write_tar("shards/000.tar", photos[:3])
    found, expected = (real_inputs([folder], np.asarray, limit=3) for folder in ("shards", "photos"))
    assert [given.name for given in found] == [f"000.tar/{Path(path).name}" for path in photos[:3]]
    for given, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(given.pixels, other.pixels)


def test_tables_without_images_are_other_files(photos):
    pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), "photos/table.parquet")
    result = run("colors.engine", "photos", "-o", "rows.jsonl")
    assert "1 file skipped" in result.stderr and len(json_rows("rows.jsonl")) == 20


def test_damaged_shards_are_rows_with_a_reason(photos):
    Path("photos/damaged.tar").write_bytes(b"no tar file" * 100)
    Path("photos/damaged.parquet").write_bytes(b"PAR1 no table")
    rows = {row["path"]: row for row in rows_of("photos")}
    for name in ("damaged.tar", "damaged.parquet"):
        assert rows[f"photos/{name}"]["status"] == "error" and rows[f"photos/{name}"]["reason"]


def test_names_that_leave_the_folder_do_not_decide_where_files_are_written(photos):
    with tarfile.open("hostile.tar", "w") as archive:
        archive.add(photos[0], "../../escaped.png")
        archive.add(photos[7], "damaged.png")
    rows_of("hostile.tar", "--overlays", "overlays")
    assert Path("overlays/escaped.jpg").exists() and not list(Path("..").glob("escaped*"))
