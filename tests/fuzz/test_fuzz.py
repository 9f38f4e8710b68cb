"""A short run of tools/fuzz with a fixed seed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from example_exports import example_export
from small_onnx import color_model, save, scan_model

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("kind", "count"), [("images", 400), ("artifacts", 25)])
def test_mutated_inputs_result_in_rows_or_error_messages(tmp_path, kind, count):
    models = [save(color_model(), tmp_path / "colors.onnx"), save(scan_model(), tmp_path / "scan.onnx")]
    command = [sys.executable, str(ROOT / "tools/fuzz"), kind, "--count", str(count), "--seed", "7"]
    command += ["--keep", str(tmp_path / "failures"), "--model", *map(str, models)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stdout + result.stderr
    figures = json.loads(result.stdout)
    assert figures[kind] == count
    assert figures["failures"] == []
    if kind == "images":
        assert figures["ok"] > 0.1 * count and figures["refused"] > 0.1 * count
        assert figures["ok"] + figures["refused"] == count
    else:
        assert sum(figures["results"].values()) == count
        assert any("refused" in result for result in figures["results"])


@pytest.mark.slow
def test_killed_commands_change_no_file_of_the_user_and_can_be_continued(tmp_path):
    for package in ("torch", "pyarrow", "pycocotools"):
        pytest.importorskip(package, reason="all commands are killed, also those that need it")
    command = [sys.executable, str(ROOT / "tools/fuzz"), "kills", "--count", "5", "--seed", "7"]
    command += ["--keep", str(tmp_path / "failures")]
    models = {"scenes": "segment", "detector": "detect"}  # others are exported by the first run
    for name, task in models.items():
        (tmp_path / f"{name}.onnx").write_bytes(example_export(name, task))
    command += ["--model", *(str(tmp_path / f"{name}.onnx") for name in models)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stdout + result.stderr
    assert json.loads(result.stdout)["kills"] >= 5
