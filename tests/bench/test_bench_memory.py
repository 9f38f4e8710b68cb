"""Memory of several processes with one engine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import commands
import pytest
from small_onnx import color_model, save

from benchmarks.memory import main, measured
from vim_deploy.engines.build import build_engine

pytest.importorskip("onnxruntime", reason="building engines needs onnxruntime")


@pytest.fixture
def engine(tmp_path: Path) -> str:
    build_engine(save(color_model(), tmp_path / "colors.onnx"), tmp_path / "colors.engine")
    return str(tmp_path / "colors.engine")


# In a process of its own: this one shares the pages of large libraries with others, which may start or end.
_GROWTH = """
import json
from vim_deploy.bench import memory
before = memory.shares()
ballast = b"x" * 30_000_000
print(json.dumps({key: value - before[key] for key, value in memory.shares().items()}))
"""


def test_own_memory_counts_in_both_figures():
    output = subprocess.run([sys.executable, "-c", _GROWTH], capture_output=True, check=True).stdout
    grown = json.loads(output)
    assert grown["anonymous"] == pytest.approx(30_000_000, rel=0.1)
    assert grown["proportional"] == pytest.approx(30_000_000, rel=0.1)


def test_a_small_engine_takes_little_memory(engine):
    found = measured(engine, processes=2)
    assert 0 < found["anonymous"] <= found["peak"] < 60e6


def test_a_row_per_number_of_processes(engine):
    result = commands.invoke(main, engine, "--processes", "1,2")
    assert result.exit_code == 0, result.output
    rows = [line.split("|")[1:4] for line in result.stdout.splitlines()[2:]]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["colors.engine", "0", "1"],
        ["colors.engine", "0", "2"],
    ]
