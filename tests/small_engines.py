"""Engines of small models, built once per test run."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import onnx
from shared_files import made_once
from small_onnx import save

from vim_deploy.engines.build import build_engine
from vim_deploy.files import sha256_of


def save_and_build(
    model: onnx.ModelProto, source: str | os.PathLike[str], engine: str | os.PathLike[str]
) -> None:
    """Write a model to the file `source`, and its engine with default options."""
    path = save(model, Path(source))

    def build() -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            built = Path(folder, "built.engine")
            build_engine(path, built)
            return built.read_bytes()

    # An engine depends on the content and the name of its source.
    name = f"{path.stem}-{sha256_of(path.read_bytes())}.engine"
    Path(engine).write_bytes(made_once(name, build))
