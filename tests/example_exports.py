"""The models of examples/, exported once per test run."""

from __future__ import annotations

import tempfile
from pathlib import Path

import commands
from shared_files import made_once

from vim_deploy.cli import export

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def example_export(name: str, task: str) -> bytes:
    """The file that vim-export writes from the weights and the card in examples/`name`."""
    weights, card = (EXAMPLES / name / f"{name}.{suffix}" for suffix in ("safetensors", "json"))

    def make() -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"{name}.onnx")
            given = ("--class-names", card, "--preprocessing", card, "-o", path)
            commands.run(export, "auto", "--task", task, "--checkpoint", weights, *given)
            return path.read_bytes()

    return made_once(f"example-{name}.onnx", make)
