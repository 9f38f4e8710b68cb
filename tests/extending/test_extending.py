"""The recipes of docs/extending.md: a task, a backend and a model family that are not part of the package."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import commands
import numpy as np
import pytest
import torch
from PIL import Image
from toy_family import TINY, ToyMamba

from vim_deploy.cli import build, export, infer
from vim_deploy.data.preprocess import Preprocessing
from vim_deploy.engines.container import read_manifest
from vim_deploy.engines.registry import BACKENDS
from vim_deploy.families.registry import FAMILIES
from vim_deploy.model.checkpoint import save_checkpoint
from vim_deploy.ops import use_scan
from vim_deploy.registry import Registry
from vim_deploy.tasks.registry import TASKS

HERE = Path(__file__).parent
# The registration of each is one line.
LINES: list[tuple[Registry[Any], str, str]] = [
    (TASKS, "certainty", "toy_task.spec:SPEC"),
    (BACKENDS, "onnx_reference", "toy_backend.spec:SPEC"),
    (FAMILIES, "toy_mamba", "toy_family:FAMILY"),
]


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    for registry, name, target in LINES:
        registry.register(name, target)
    yield
    for registry, name, _ in LINES:
        registry.unregister(name)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for index in range(3):
        pixels = generator.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def trained_model(path: Path) -> ToyMamba:
    """A model with random weights, and its checkpoint."""
    torch.manual_seed(1)
    model = ToyMamba(TINY).eval()
    torch.nn.init.normal_(model.head.weight, std=3)
    save_checkpoint(model, path)
    return model


def expected_certainties(model: ToyMamba, images: Path) -> list[float]:
    preprocessing = Preprocessing(TINY.image_size)
    pixels = np.stack([preprocessing(Image.open(path)) for path in sorted(images.iterdir())])
    with torch.inference_mode(), use_scan("reference"):
        found = model(torch.from_numpy(pixels)).softmax(-1).amax(-1)
    return found.tolist()


def test_registered_task_backend_and_family_work_together(tmp_path, images):
    """The commands with a toy family, task and backend give the same results as the eager model."""
    checkpoint, model, engine, table = (
        tmp_path / name for name in ("toy.safetensors", "toy.onnx", "toy.engine", "rows.csv")
    )
    eager = trained_model(checkpoint)
    arguments = ("--checkpoint", checkpoint, "--task", "certainty", "-o", model)
    assert "equal to the eager model" in commands.run(export, "toy_mamba", *arguments).output
    commands.run(build, model, "-o", engine, "--backend", "onnx_reference", "--decimals", 7)
    commands.run(infer, engine, images, "-o", table, "--unit", "percent")
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["unit"] for row in rows] == ["percent"] * 3
    found = [float(row["certainty"]) / 100 for row in rows]
    assert found == pytest.approx(expected_certainties(eager, images), rel=1e-4)


@pytest.mark.parametrize("task", ["classify", "certainty"])
def test_registered_family_supports_all_tasks_of_its_kind(task, tmp_path, images):
    model, engine = tmp_path / "toy.onnx", tmp_path / "toy.engine"
    commands.run(export, "toy_tiny", "--task", task, "-o", model)
    commands.run(build, model, "-o", engine)
    lines = commands.run(infer, engine, images, "--quiet").output.splitlines()
    assert len(lines) == 1 + 3
    assert ("top1" if task == "classify" else "certainty") in lines[0]


def test_registered_task_supports_families_of_the_package(tmp_path, images):
    config = tmp_path / "small.json"
    config.write_text(
        json.dumps({"embed_dim": 16, "depth": 1, "patch_size": 8, "stride": 8, "image_size": [16, 16],
                    "num_classes": 3})
    )  # fmt: skip
    commands.run(export, config, "--task", "certainty", "-o", tmp_path / "vim.onnx")
    assert "certainty" in commands.run(infer, tmp_path / "vim.onnx", images, "--quiet").output


def test_registered_backend_records_its_options(tmp_path):
    model, engine = tmp_path / "toy.onnx", tmp_path / "toy.engine"
    commands.run(export, "toy_tiny", "-o", model, "--no-check")
    commands.run(build, model, "-o", engine, "--backend", "onnx_reference", "--decimals", 5)
    command = read_manifest(engine).rebuild_command(str(engine))
    assert command == f"vim-build toy.onnx -o {engine} --backend onnx_reference --decimals 5"
    refused = commands.invoke(build.main, model, "-o", engine, "--decimals", "5")
    assert refused.exit_code == 2
    assert "only valid with --backend onnx_reference" in refused.output


@pytest.mark.parametrize(("command", "words"), [
    (export.main, ["certainty", "toy_tiny"]),
    (build.main, ["onnx_reference", "--decimals"]),
    (infer.main, ["--unit"]),
])  # fmt: skip
def test_help_lists_registered_entries(command, words):
    shown = commands.invoke(command, "--help").output
    assert [word for word in words if word not in shown] == []


def test_numbers_of_files_of_an_extension():
    """docs/extending.md states the number of files of each toy. No file of the package changes."""
    files = {
        "task": list((HERE / "toy_task").glob("*.py")),
        "backend": list((HERE / "toy_backend").glob("*.py")),
        "family": [HERE / "toy_family.py"],
    }
    assert {name: len(found) for name, found in files.items()} == {"task": 4, "backend": 3, "family": 1}
