"""No command replaces a file of the user: inputs, files of other kinds, files of images."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from commands import invoke
from infer_command import csv_rows, make_engine, make_images, run, start
from PIL import Image
from small_detector import color_detector
from small_engines import save_and_build
from small_onnx import color_model, save
from small_segmenter import color_segmenter, save_map, striped

from vim_deploy.cli.build import main as build
from vim_deploy.cli.export import main as export
from vim_deploy.cli.infer import main as infer
from vim_deploy.cli.validate import main as validate

PRECIOUS = b"\x89PNG\r\n\x1a\n and more bytes of the user"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("precious.png").write_bytes(PRECIOUS)


def refused(main: Any, message: str, *arguments: object) -> None:
    """The command is refused, and leaves all files below the working folder as they are."""
    before = contents()
    result = invoke(main, *arguments)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.stderr.split())
    assert contents() == before


def contents() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}


@pytest.fixture
def segmenter() -> None:
    save_and_build(color_segmenter(), "scenes.onnx", "scenes.engine")
    for name in ("a", "b"):
        save_map(Path(f"truth/{name}.png"), striped(Path(f"photos/{name}.png"), 32, 32))


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("own.safetensors", "-o own.safetensors is an input of this run"),
        ("link.onnx", "-o link.onnx is an input of this run"),
        ("names.txt", "-o names.txt is an input of this run"),
        ("card.json", "-o card.json is an input of this run"),
        ("photos/0.png", "exists and is not an ONNX file written by vim-export"),
        ("colors.onnx", "exists and is not an ONNX file written by vim-export"),
    ],
)
@pytest.mark.parametrize("force", [False, True])
def test_export(output, message, force):
    for name in ("own.safetensors", "names.txt", "card.json"):
        Path(name).write_text("input")
    os.link("own.safetensors", "link.onnx")
    save(color_model(), Path("colors.onnx"))
    Path("photos").mkdir()
    Path("photos/0.png").write_bytes(PRECIOUS)
    arguments = ("auto", "--checkpoint", "own.safetensors", "--class-names", "names.txt", "--preprocessing",
                 "card.json", "--check-images", "photos", "-o", output)  # fmt: skip
    if not force:
        refused(export, message, *arguments)
    elif output != "colors.onnx":
        refused(export, "is an input of this run", *arguments, "--force")


def test_an_exported_file_is_replaced():
    pytest.importorskip("torch", reason="vim-export needs PyTorch")
    config = {"embed_dim": 32, "depth": 1, "image_size": [32, 32], "num_classes": 5}
    Path("small.json").write_text(json.dumps(config))
    for seed in (1, 2):
        arguments = ("small.json", "--seed", seed, "--no-check", "-o", "small.onnx")
        assert invoke(export, *arguments).exit_code == 0
    arguments = ("small.json", "--no-check", "-o", "precious.png")
    refused(export, "exists and is not an ONNX file", *arguments)
    assert invoke(export, *arguments, "--force").exit_code == 0


def test_build():
    save(color_model(), Path("digits.onnx"))
    os.link("digits.onnx", "link.engine")
    refused(build, "is not an engine written by vim-build", "digits.onnx", "-o", "precious.png")
    for name in ("digits.onnx", "link.engine"):
        for options in ((), ("--force",)):
            refused(build, "is an input of this run", "digits.onnx", "-o", name, *options)
    for _ in range(2):
        assert invoke(build, "digits.onnx", "-o", "digits.engine").exit_code == 0
    arguments = ("digits.onnx", "-o", "x.engine", "--backend", "tensorrt")
    for option, path, message in (
        ("--layers", "digits.engine", "exists and is not layer information of vim-build"),
        ("--timing-cache", "x.engine", "is also the path of -o"),
        ("--layers", "digits.onnx", "is an input of this run"),
    ):
        refused(build, f"{option} {path} {message}", *arguments, option, path)
    assert invoke(build, "digits.onnx", "-o", "precious.png", "--force").exit_code == 0


@pytest.mark.parametrize("option", ["--html", "--plot"])
@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("x.onnx", "x.onnx is an input of this run"),
        ("config.json", "config.json is an input of this run"),
        ("precious.png", "precious.png exists and is not a"),
        ("photos/00000.png", "photos/00000.png exists and is not a"),
    ],
)
def test_validate(option, output, message):
    save(color_model(), Path("x.onnx"))
    Path("config.json").write_text("{}")
    make_images("photos", 1)
    arguments = ("config.json", "x.onnx", "--layers", "--images", "photos", option, output)
    refused(validate, message, *arguments)
    if output != "precious.png":
        refused(validate, "is an input of this run", *arguments, "--force")


@pytest.mark.parametrize("option", ["-o", "--report"])
@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("colors.engine", "colors.engine is an input of this run"),
        ("colors.onnx", "colors.onnx is an input of this run"),
        ("photos/00000.png", "photos/00000.png exists and is not a re"),
        ("precious.png", "precious.png exists and is not a re"),
        ("rows.jsonl", "rows.jsonl exists and is not a re"),
    ],
)
def test_results_and_report(option, output, message):
    make_engine()
    make_images("photos", 2)
    Path("rows.jsonl").write_text('{"path": "a.png", "label": 3}\n')
    others = ("--format", "csv") if option == "-o" else ("-o", "new.csv")
    arguments = ("colors.engine", "photos", "--source", "colors.onnx", option, output, *others)
    refused(infer, message, *arguments)
    if output not in ("precious.png", "rows.jsonl"):
        refused(infer, "is an input of this run", *arguments, "--force")
    elif option == "-o":
        assert run(*arguments, "--force").exit_code == 0
        assert len(csv_rows(output)) == 2


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "rows.parquet"])
def test_earlier_results_and_reports_are_replaced(name):
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    make_engine()
    make_images("photos", 2)
    for _ in range(2):
        assert run("colors.engine", "photos", "-o", name, "--report", "report.html").exit_code == 0


@pytest.mark.parametrize(
    ("output", "end"),
    [
        ("rows.csv", ".partial"),
        ("rows.csv", ".run.json"),
        ("rows.csv", ".files"),
        ("rows.parquet", ".partial"),
    ],
)
def test_files_with_the_names_of_companions_are_kept(output, end):
    make_engine()
    make_images("photos", 2)
    path = Path(output + end)
    if output.endswith("parquet"):
        path = path / "thesis.txt"
        path.parent.mkdir()
    path.write_text("a download of the user")
    for options in ((), ("--restart",), ("--resume",)):
        refused(infer, "was not written by vim-infer", "colors.engine", "photos", "-o", output, *options)


@pytest.mark.parametrize("option", ["--maps", "--overlays"])
def test_photographs_are_not_replaced_by_maps_or_overlays(segmenter, option):
    photos = sorted(map(str, Path("photos").iterdir()))
    if option == "--overlays":
        for path in map(Path, photos):
            path.rename(path.with_suffix(".jpg"))
        photos = sorted(map(str, Path("photos").iterdir()))
    arguments = ("scenes.engine", *photos, "-o", "rows.csv", option, "photos")
    for options in ((), ("--force",), ("--restart",)):
        refused(infer, f"{photos[0]} exists", *arguments, *options)


def test_the_ground_truth_is_not_replaced(segmenter):
    arguments = ("scenes.engine", "photos", "-o", "rows.csv", "--ground-truth", "truth", "--maps")
    refused(infer, "--maps truth is inside the input folder truth", *arguments, "truth")
    Path("link").symlink_to("truth")
    refused(infer, "--maps link is inside the input folder truth", *arguments, "link")


def test_paths_from_stdin_that_would_be_replaced_are_error_rows(segmenter):
    before = contents()
    process = start("scenes.engine", "-", "-o", "rows.csv", "--maps", "photos", stdin=subprocess.PIPE)
    errors = process.communicate(b"photos/a.png\nphotos/b.png\n")[1]
    assert process.returncode == 1, errors
    assert [row["reason"] for row in csv_rows("rows.csv")] == [
        f"photos/{name}.png exists, and this run did not write it" for name in ("a", "b")
    ]
    assert {name: data for name, data in contents().items() if name != "rows.csv"} == before


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("photos/a.png", "--areas photos/a.png exists and is not a table of areas of vim-infer"),
        ("scenes.engine", "--areas scenes.engine is an input of this run"),
        ("rows.csv", "--areas rows.csv is also the path of -o"),
    ],
)
def test_areas(segmenter, output, message):
    refused(infer, message, "scenes.engine", "photos", "-o", "rows.csv", "--areas", output)
    for _ in range(2):
        assert run("scenes.engine", "photos", "-o", "rows.csv", "--areas", "areas.csv").exit_code == 0


def test_coco_and_annotations():
    save_and_build(color_detector(), "colors.onnx", "colors.engine")
    make_images("photos", 1)
    annotations = {
        "images": [{"id": 1, "file_name": "00000.png"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}],
        "categories": [{"id": 1, "name": "red"}],
    }
    Path("annotations.json").write_text(json.dumps(annotations))
    arguments = ("colors.engine", "photos", "-o", "rows.csv", "--annotations", "annotations.json", "--coco")
    refused(infer, "--coco annotations.json is an input of this run", *arguments, "annotations.json")
    refused(infer, "exists and is not COCO results of vim-infer", *arguments, "precious.png")
    for _ in range(2):
        result = run("colors.engine", "photos", "-o", "rows.csv", "--coco", "found.json")
        assert result.exit_code == 0, result.output


@pytest.mark.parametrize("format", ["npy", "safetensors"])
def test_arrays_do_not_replace_files(format):
    save_and_build(color_model(task="features", class_names=None), "f.onnx", "f.engine")
    make_images("photos", 2)
    Path("arrays").mkdir()
    Path(f"arrays/00001.{format}").write_text("the user's")
    arguments = ("f.engine", "photos", "-o", "rows.csv", "--arrays", "arrays", "--arrays-format", format)
    refused(infer, f"arrays/00001.{format} exists", *arguments)
    Path(f"arrays/00001.{format}").unlink()
    assert run(*arguments).exit_code == 0
    refused(infer, f"arrays/00000.{format} exists", *arguments)


def test_a_killed_run_is_resumed_over_its_own_files_only(segmenter):
    """Files of images without a row are written again; a file that another program made is kept."""
    for index in range(120):
        striped(Path(f"many/{index:03d}.png"), 120, 90)
    arguments = ("scenes.engine", "many", "-o", "rows.jsonl", "--maps", "maps", "--workers", 1)
    process = start(*arguments, "--quiet")
    while process.poll() is None and len(list(Path("maps").glob("*.png"))) < 5:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert Path("rows.jsonl.partial").exists(), "the run finished before it was killed"
    lines = Path("rows.jsonl.partial").read_bytes().splitlines(keepends=True)
    # As if the process was killed before the last rows were written.
    Path("rows.jsonl.partial").write_bytes(b"".join(lines[:2]))
    Image.new("L", (3, 3)).save("maps/119.png")
    foreign = Path("maps/119.png").read_bytes()
    result = run(*arguments, "--resume")
    assert result.exit_code == 1, result.output
    rows = [json.loads(line) for line in Path("rows.jsonl").read_text().splitlines()]
    assert [row["reason"] for row in rows if row["status"] == "error"] == [
        "maps/119.png exists, and this run did not write it"
    ]
    assert len(rows) == 120
    assert Path("maps/119.png").read_bytes() == foreign
    assert not list(Path().glob("rows.jsonl.*"))
