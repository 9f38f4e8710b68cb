"""The result for an image does not depend on its batch, its position in it, or the other images."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import numpy as np
import pytest
from infer_command import json_rows, run, start
from PIL import Image
from small_onnx import save, scan_model

from vim_deploy.engines.build import build_engine

# docs/inference.md: matmuls may sum in another order if the batch size differs.
TOLERANCE = 1e-5


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    build_engine(save(scan_model(length=16, channels=16), Path("scan.onnx")), "scan.engine")
    generator = np.random.default_rng(0)
    for index in range(23):
        Image.fromarray(generator.integers(0, 256, (9, 7 + index), np.uint8)).save(f"{index:02d}.png")
    Path("05-bad.png").write_text("text")
    return [str(path) for path in sorted(Path().glob("*.png"))]


def probabilities(output: str) -> dict[str, tuple[str, ...] | list[float]]:
    results = {}
    for row in json_rows(output):
        scores = sorted((score["index"], score["probability"]) for score in row["top"])
        results[row["path"]] = [row["status"], *(value for _, value in scores)]
    return results


def test_batch_size_order_and_neighbors_change_nothing(place):
    assert run("scan.engine", *place, "-o", "out.jsonl", "--top-k", 256).exit_code == 1
    expected = probabilities("out.jsonl")
    generator = random.Random(0)
    for batch in (1, 2, 5, 64):
        shuffled = generator.sample(place, len(place))
        process = start(
            *("scan.engine", "-", "-o", f"{batch}.jsonl", "--top-k", 256, "--batch-size", batch),
            stdin=subprocess.PIPE,
        )
        process.communicate("\n".join(shuffled).encode())
        assert process.returncode == 1
        assert [row["path"] for row in json_rows(f"{batch}.jsonl")] == shuffled
        for path, (status, *values) in probabilities(f"{batch}.jsonl").items():
            assert status == expected[path][0]
            np.testing.assert_allclose(values, expected[path][1:], atol=TOLERANCE)
