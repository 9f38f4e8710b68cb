"""A path that cannot be used is a row, or a user error where it is an option; it ends no run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import commands
import numpy as np
import pytest
from infer_command import csv_rows, json_rows, make_engine, make_images, run, start
from PIL import Image
from small_engines import save_and_build
from small_onnx import color_model

from vim_deploy.cli.export import main as export

LONG = "x" * 300


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_engine()
    return tmp_path


@pytest.mark.parametrize("as_list", [True, False])
def test_unusable_paths_are_rows(as_list):
    good = make_images("images", 2)
    Path("loop").symlink_to("loop")
    given = [good[0], f"{LONG}.png", f"images/{LONG}/a.png", "loop/a.png", good[1]]
    inputs = ["-"] if as_list else given
    process = start("colors.engine", *inputs, "-o", "out.jsonl", stdin=subprocess.PIPE)
    errors = process.communicate("\n".join(given).encode())[1].decode()
    assert process.returncode == 1, errors
    rows = json_rows("out.jsonl")
    assert [row["path"] for row in rows] == given
    assert [row["status"] for row in rows] == ["ok", "error", "error", "error", "ok"]
    assert "File name too long" in rows[1]["reason"] and "symbolic links" in rows[3]["reason"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may search every folder")
def test_files_in_folders_that_cannot_be_searched_are_rows():
    (path,) = make_images("locked", 1)
    Path("locked").chmod(0)
    try:
        assert run("colors.engine", path, "-o", "out.csv").exit_code == 1
    finally:
        Path("locked").chmod(0o755)
    assert "Permission denied" in csv_rows("out.csv")[0]["reason"]


def test_a_very_long_path_on_standard_input_is_a_row():
    (good,) = make_images("images", 1)
    process = start("colors.engine", "-", "-o", "out.jsonl", stdin=subprocess.PIPE)
    process.communicate(b"y" * 3_000_000 + b"\n" + good.encode())
    assert process.returncode == 1
    assert [len(row["path"]) for row in json_rows("out.jsonl")] == [4096, len(good)]


@pytest.mark.parametrize("option", ["-o", "--report", "--source", "--ground-truth", "--maps", "engine"])
def test_unusable_paths_of_options_are_user_errors(option):
    make_images("images", 1)
    engine = LONG if option == "engine" else "colors.engine"
    given = [] if option == "engine" else [option, f"{LONG}.csv"]
    output = [] if option == "-o" else ["-o", "out.csv"]
    result = run(engine, "images", *given, *output)
    assert result.exit_code == 2, result.output
    assert "File name too long" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize("option", ["--checkpoint", "--class-names", "-o"])
def test_unusable_paths_of_other_commands_are_user_errors(option):
    output = [] if option == "-o" else ["-o", "m.onnx"]
    result = commands.invoke(export, "vim_tiny", option, LONG, *output)
    assert result.exit_code == 2, result.output
    assert "ile name too long" in result.stderr


def test_an_image_whose_files_cannot_be_named_is_a_row():
    """A name that is valid for the image and too long for its array."""
    save_and_build(color_model(task="features", class_names=None), "f.onnx", "f.engine")
    Path("images").mkdir()
    for name in ("a", "b" * 251, "c"):
        Image.new("RGB", (4, 3), "red").save(f"images/{name}.png")
    options = ("--arrays", "arrays", "--arrays-format", "safetensors")
    pytest.importorskip("safetensors")
    assert run("f.engine", "images", "-o", "out.jsonl", *options).exit_code == 1
    rows = json_rows("out.jsonl")
    assert [row["status"] for row in rows] == ["ok", "error", "ok"]
    assert "File name too long" in rows[1]["reason"]
    assert [path.name for path in sorted(Path("arrays").iterdir())] == ["a.safetensors", "c.safetensors"]


def test_files_of_killed_runs_are_replaced():
    save_and_build(color_model(task="features", class_names=None), "f.onnx", "f.engine")
    make_images("images", 3)
    code = (
        "import os, signal\n"
        "from vim_deploy.tasks.features import files\n"
        "files._npy = lambda values: b'x' * 10\n"
        "os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from vim_deploy.cli.infer import main; main()"
    )
    given = ("f.engine", "images", "-o", "out.jsonl", "--arrays", "arrays")
    root = Path(__file__).resolve().parents[2]
    process = subprocess.run(
        [os.sys.executable, "-c", code, *given], env={**os.environ, "PYTHONPATH": str(root)}, check=False
    )
    assert process.returncode == -9
    assert len(list(Path("arrays").iterdir())) == 1
    assert run(*given, "--resume").exit_code == 0
    assert [path.name for path in sorted(Path("arrays").iterdir())] == [
        f"{index:05d}.npy" for index in range(3)
    ]
    np.load("arrays/00000.npy", allow_pickle=False)
