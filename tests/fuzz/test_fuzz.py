"""A small, seeded part of the fuzzing that tools/fuzz does at length."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_onnx import colour_model, save, scan_model

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("kind", "count"), [("images", 400), ("artifacts", 25)])
def test_mutated_inputs_end_in_rows_or_refusals(tmp_path, kind, count):
    models = [save(colour_model(), tmp_path / "colours.onnx"), save(scan_model(), tmp_path / "scan.onnx")]
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
        assert sum(figures["ends"].values()) == count
        assert any("refused" in end for end in figures["ends"])
