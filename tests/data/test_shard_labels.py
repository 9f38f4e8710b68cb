"""Labels that are stored with images in tar and Parquet files."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from infer_command import json_rows, make_engine, make_images, run
from small_onnx import COLORS

from vim_deploy.data.labels import UnknownLabel, by_shard

SHARDS = ("--labels", "shards")


@pytest.fixture(autouse=True)
def photos(tmp_path: Path, monkeypatch) -> list[str]:
    """Images in the folder `photos`, the classes are 0, 1, 2, 0, 1 ...; and an engine."""
    monkeypatch.chdir(tmp_path)
    make_engine()
    return make_images("photos", 6)


def write_tar(path: str, files: Mapping[str, bytes]) -> str:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def write_table(path: str, photos: list[str], row_group_size: int = 4, **columns: list) -> str:
    contents = [Path(name).read_bytes() for name in photos]
    table = pyarrow.table({"image": contents, **columns})
    pyarrow.parquet.write_table(table, path, row_group_size=row_group_size)
    return path


def test_accuracy_from_labels_in_tar_and_parquet_files(photos):
    files = {}
    for number, photo in enumerate(photos):
        files[f"a.b/{number}.png"] = Path(photo).read_bytes()
        files[f"a.b/{number}.cls"] = str(number % 3 if number else 1).encode()  # the first is wrong
    write_tar("shard.tar", files)
    write_table("shard.parquet", photos, label=[1, 1, 2, 0, 1, 2])
    for shard in ("shard.tar", "shard.parquet"):
        result = run("colors.engine", shard, "-o", "rows.jsonl", "--json", *SHARDS)
        assert result.exit_code == 0, result.output
        summary = json.loads(result.stdout)
        assert (summary["labeled"], summary["labels_missing"], summary["labels_invalid"]) == (6, 0, 0)
        assert summary["other_files"] == 0
        assert summary["top1_accuracy"] == pytest.approx(5 / 6)
        rows = json_rows("rows.jsonl")
        assert [row["label"] for row in rows] == [COLORS[number] for number in (1, 1, 2, 0, 1, 2)]
        assert [row["rank"] for row in rows][1:] == [1] * 5 and not any(row["flags"] for row in rows)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"x.cls": b"2\n"}, 2),
        ({"x.cls.txt": b" green "}, 1),
        ({"x.json": b'{"label": 1}'}, 1),
        ({"x.json": b'{"cls": "blue", "caption": "a"}'}, 2),
        ({"x.cls": b"0", "x.json": b'{"label": 1}'}, 0),
        ({}, UnknownLabel.MISSING),
        ({"y.cls": b"0"}, UnknownLabel.MISSING),
        ({"x.json": b'{"caption": "a"}'}, UnknownLabel.MISSING),
        ({"x.json": b'{"label": null}'}, UnknownLabel.MISSING),
        ({"x.cls": b"-1"}, UnknownLabel.MISSING),
        ({"x.cls": b"3"}, UnknownLabel.INVALID),
        ({"x.cls": b"99999999999999999999"}, UnknownLabel.INVALID),
        ({"x.cls": b""}, UnknownLabel.INVALID),
        ({"x.cls": b"\xff\x00"}, UnknownLabel.INVALID),
        ({"x.cls": b"yellow"}, UnknownLabel.INVALID),
        ({"x.json": b"{"}, UnknownLabel.INVALID),
        ({"x.json": b"[" * 16000}, UnknownLabel.INVALID),
        ({"x.json": b"[1]"}, UnknownLabel.INVALID),
        ({"x.json": b'{"label": [1]}'}, UnknownLabel.INVALID),
        ({"x.json": b'{"label": true}'}, UnknownLabel.INVALID),
        ({"x.json": b'{"label": 1e400}'}, UnknownLabel.INVALID),
    ],
)
def test_labels_of_an_image_in_a_tar_file(files, expected):
    write_tar("one.tar", {"x.png": b"", **files})
    assert by_shard(None, COLORS)("one.tar/x.png") == expected


def test_keys_are_those_of_webdataset():
    """Up to the first dot of the name; a file with the image's whole name comes first."""
    files = {"d.1/a.cls": b"0", "d.1/b.input.cls": b"1", "d.1/b.cls": b"2"}
    images = {"d.1/a.input.png": b"", "d.1/b.input.png": b""}
    write_tar("keys.tar", {**images, **files})
    label_of = by_shard(None, COLORS)
    assert [label_of(f"keys.tar/{name}") for name in images] == [0, 1]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ([0, 1, 2, -1, 3, None], [0, 1, 2, UnknownLabel.MISSING, UnknownLabel.INVALID, UnknownLabel.MISSING]),
        (["red", "2", "x", "", None, "blue"],
         [0, 2, UnknownLabel.INVALID, UnknownLabel.INVALID, UnknownLabel.MISSING, 2]),
        ([0.0, 1.5, 2.0, float("nan"), None, 1.0],
         [0, UnknownLabel.INVALID, 2, UnknownLabel.INVALID, UnknownLabel.MISSING, 1]),
        ([[0], [1], [], [2], [0], [1]], [UnknownLabel.INVALID] * 6),
    ],
)  # fmt: skip
def test_labels_of_parquet_columns(photos, column, expected):
    write_table("images.parquet", photos, label=column)
    label_of = by_shard(None, COLORS)
    assert [label_of(f"images.parquet/{row}") for row in range(6)] == expected


def test_a_field_can_be_named(photos):
    write_table("images.parquet", photos, label=[0] * 6, fine=[2] * 6)
    write_tar("one.tar", {"x.png": b"", "x.cls": b"0", "x.json": b'{"label": 1, "fine": 2}'})
    assert by_shard("fine", COLORS)("images.parquet/3") == 2
    assert by_shard("fine", COLORS)("one.tar/x.png") == 2
    assert by_shard("coarse", COLORS)("images.parquet/3") is UnknownLabel.MISSING
    refused = run("colors.engine", "images.parquet", "--label-field", "fine")
    assert refused.exit_code == 2 and "only valid with --labels shards" in refused.stderr


def test_images_without_a_usable_label_have_a_flag(photos):
    image = Path(photos[0]).read_bytes()
    write_tar("some.tar", {"a.png": image, "a.cls": b"0", "b.png": image, "c.png": image, "c.cls": b"?"})
    result = run("colors.engine", "some.tar", photos[0], "-o", "rows.jsonl", *SHARDS)
    assert result.exit_code == 0, result.output
    rows = json_rows("rows.jsonl")
    assert [(row["label"], row["flags"]) for row in rows] == [
        ("red", []), (None, ["label_missing"]), (None, ["label_invalid"]), (None, ["label_missing"]),
    ]  # fmt: skip
    assert "accuracy over 1 labeled image" in result.stderr
    assert "2 images with no label (flag label_missing)" in result.stderr
    assert "1 image with a label that cannot be read or is not a class" in result.stderr


def test_shards_without_labels_are_an_error(photos):
    write_table("images.parquet", photos, answer=[0] * 6)
    result = run("colors.engine", "images.parquet", *SHARDS)
    assert result.exit_code == 2 and "a column named label or cls" in result.stderr
    named = run("colors.engine", "images.parquet", *SHARDS, "--label-field", "question")
    assert named.exit_code == 2 and "'question'" in named.stderr


def test_damaged_columns_are_rows(photos):
    """The pages of one row group are overwritten: of the images, and of the labels."""
    for column, flags in (("image", []), ("label", ["label_invalid"])):
        path = Path(write_table(f"{column}.parquet", photos, label=[0, 1, 2, 0, 1, 2]))
        place = pyarrow.parquet.ParquetFile(path).metadata.row_group(0)
        chunk = place.column(("image", "label").index(column))
        content = bytearray(path.read_bytes())
        start = chunk.dictionary_page_offset or chunk.data_page_offset
        content[start : start + chunk.total_compressed_size] = b"\xa5" * chunk.total_compressed_size
        path.write_bytes(content)
        result = run("colors.engine", path, "-o", "rows.jsonl", *SHARDS)
        assert result.exit_code == (1 if column == "image" else 0), result.output
        rows = json_rows("rows.jsonl")
        assert [row["flags"] for row in rows[:4]] == [flags] * 4
        for row in rows[:4]:
            assert row["status"] == "ok" or "damaged Parquet file" in row["reason"]
        assert [row["label"] for row in rows[4:]] == ["green", "blue"]
