"""Reading and writing files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from small_onnx import colour_model, save

from vim_deploy import load_engine
from vim_deploy.engines.build import build_engine
from vim_deploy.engines.container import read_engine
from vim_deploy.errors import EngineError
from vim_deploy.files import open_regular, sha256_of_file


def test_only_regular_files_are_opened(tmp_path: Path):
    """Opening a pipe would wait for its writer, and reading from /dev/zero would never end."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path):
        for read in (open_regular, sha256_of_file):
            with pytest.raises(OSError, match="not a regular file"):
                read(path)


@pytest.mark.parametrize("name", ["pipe.engine", "pipe.onnx"])
def test_artifacts_that_are_pipes_are_refused(tmp_path: Path, name: str):
    os.mkfifo(tmp_path / name)
    for read in (load_engine, read_engine, lambda path: build_engine(path, tmp_path / "x.engine")):
        with pytest.raises(EngineError, match="not a regular file"):
            read(tmp_path / name)


def test_a_pipe_as_source_of_an_engine_is_refused(tmp_path: Path):
    build_engine(save(colour_model(), tmp_path / "colours.onnx"), tmp_path / "colours.engine")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(EngineError, match="not a regular file"):
        load_engine(tmp_path / "colours.engine", source=tmp_path / "pipe")
