"""Inputs for tests of vim-infer, and the command in this process or in a child process."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import commands
from click.testing import Result
from PIL import Image
from small_engines import save_and_build
from small_onnx import COLORS, color_model

from vim_deploy.cli.infer import main

ROOT = Path(__file__).resolve().parents[1]
COMMAND = [sys.executable, "-c", "from vim_deploy.cli.infer import main; main()"]


def make_engine(name: str = "colors.engine") -> None:
    save_and_build(color_model(), "colors.onnx", name)


def make_images(folder: str, count: int) -> list[str]:
    """Create small images of three alternating colors and return their paths."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    paths = [Path(folder, f"{index:05d}.png") for index in range(count)]
    for index, path in enumerate(paths):
        Image.new("RGB", (4, 3), COLORS[index % 3]).save(path)
    return [str(path) for path in paths]


def run(*arguments: object, input: bytes | None = None) -> Result:
    return commands.invoke(main, *arguments, input=input)


def start(*arguments: object, **options: Any) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [*COMMAND, *(str(argument) for argument in arguments)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, **options)


def csv_rows(path: str | Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(Path(path).read_text(), newline="")))


def json_rows(path: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]
