"""Features in one file per image, and JPEG files decoded at a reduced size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from infer_command import csv_rows, make_engine, run
from PIL import Image
from small_engines import save_and_build
from small_onnx import color_model


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, color in (("a", "red"), ("b", "lime")):
        Path("images", folder).mkdir(parents=True)
        Image.new("RGB", (40, 30), color).save(f"images/{folder}/one.png")
    Path("images/b/bad.png").write_text("text")
    save_and_build(color_model(task="features", class_names=None), "f.onnx", "f.engine")


def arrays(format: str) -> dict[str, np.ndarray]:
    found = {}
    for path in sorted(Path("arrays").rglob("*.*")):
        if format == "npy":
            values = np.load(path, allow_pickle=False)
        else:
            values = pytest.importorskip("safetensors.numpy").load_file(path)["features"]
        found[path.relative_to("arrays").as_posix()] = values
    return found


@pytest.mark.parametrize("format", ["npy", "safetensors"])
@pytest.mark.parametrize("output", ["rows.csv", "rows.jsonl", "rows.parquet"])
def test_one_file_per_image_with_its_name_in_the_row(format, output):
    result = run("f.engine", "images", "-o", output, "--arrays", "arrays", "--arrays-format", format)
    assert result.exit_code == 1, result.stderr  # one image is damaged
    found = arrays(format)
    assert list(found) == [f"a/one.{format}", f"b/one.{format}"]
    np.testing.assert_allclose(found[f"a/one.{format}"], [10, 0, 0], atol=1e-5)
    np.testing.assert_allclose(found[f"b/one.{format}"], [0, 10, 0], atol=1e-5)
    if output == "rows.csv":
        rows = [(row["status"], row["file"], row["shape"]) for row in csv_rows(output)]
        assert rows == [("ok", f"a/one.{format}", "3"), ("error", "", ""), ("ok", f"b/one.{format}", "3")]


def test_a_stopped_run_is_resumed_with_its_files():
    given = ("f.engine", "images", "-o", "rows.jsonl", "--arrays", "arrays")
    assert run(*given, "--max-failures", 0).exit_code == 3
    assert run(*given, "--resume", "--arrays-format", "safetensors").exit_code == 2
    assert run(*given, "--resume").exit_code == 1
    assert list(arrays("npy")) == ["a/one.npy", "b/one.npy"]
    assert [json.loads(line)["file"] for line in Path("rows.jsonl").read_text().splitlines()] == [
        "a/one.npy",
        None,
        "b/one.npy",
    ]


def test_files_that_would_replace_each_other_are_error_rows():
    Image.new("RGB", (4, 4), "red").save("images/a/one.bmp")
    assert run("f.engine", "images/a", "-o", "rows.csv", "--arrays", "arrays").exit_code == 1
    assert [row["status"] for row in csv_rows("rows.csv")] == ["ok", "error"]
    assert "images/a/one.bmp" in csv_rows("rows.csv")[1]["reason"]


@pytest.mark.parametrize(
    ("engine", "options", "message"),
    [
        ("f.engine", ("--arrays-format", "safetensors"), "--arrays"),
        ("f.engine", ("--arrays", "images/a/arrays"), "is inside the input folder"),
        ("f.engine", ("-o", "rows.csv"), "--arrays"),
        ("colors.engine", ("--arrays", "arrays"), "only for models of the task features"),
    ],
)
def test_invalid_options_are_refused(engine, options, message):
    make_engine()
    result = run(engine, "images", *options)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_reduced_jpeg_is_flagged_and_gives_the_same_class():
    make_engine()
    Image.new("RGB", (1600, 1200), "red").save("large.jpg")
    flags = []
    for options in ((), ("--reduced-jpeg",)):
        assert run("colors.engine", "large.jpg", "-o", "rows.csv", "--restart", *options).exit_code == 0
        (row,) = csv_rows("rows.csv")
        assert (row["top1"], row["width"], row["height"]) == ("red", "1600", "1200")
        flags.append(row["flags"])
    assert flags == ["", "reduced"]
