"""Reading and writing files."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from small_engines import save_and_build
from small_onnx import color_model

from vim_deploy import load
from vim_deploy.engines.build import build_engine
from vim_deploy.engines.container import read_engine
from vim_deploy.errors import EngineError
from vim_deploy.files import atomic_write, open_regular, sha256_of_file


def test_only_regular_files_are_opened(tmp_path: Path):
    """Opening a pipe would wait for its writer, and reading from /dev/zero would never end."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path):
        for read in (open_regular, sha256_of_file):
            with pytest.raises(OSError, match=r"not a regular file|Is a directory"):
                read(path)


@pytest.mark.parametrize("name", ["pipe.engine", "pipe.onnx"])
def test_artifacts_that_are_pipes_are_refused(tmp_path: Path, name: str):
    os.mkfifo(tmp_path / name)
    for read in (load, read_engine, lambda path: build_engine(path, tmp_path / "x.engine")):
        with pytest.raises(EngineError, match="not a regular file"):
            read(tmp_path / name)


def test_a_pipe_as_source_of_an_engine_is_refused(tmp_path: Path):
    save_and_build(color_model(), tmp_path / "colors.onnx", tmp_path / "colors.engine")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(EngineError, match="not a regular file"):
        load(tmp_path / "colors.engine", source=tmp_path / "pipe")


def write(path: Path, content: bytes = b"new") -> None:
    with atomic_write(path) as file:
        file.write(content)


def killed_while_writing(path: Path) -> None:
    child = os.fork()
    if not child:
        with atomic_write(path) as file:
            file.write(b"a long content that is never complete")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL


def test_the_next_write_replaces_the_file_of_a_killed_process(tmp_path):
    for _ in range(3):
        killed_while_writing(tmp_path / "a.png")
    assert len(list(tmp_path.iterdir())) == 1
    write(tmp_path / "a.png")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.png": b"new"}


def test_writers_of_the_same_file_do_not_disturb_each_other(tmp_path):
    path = tmp_path / "a.png"
    with atomic_write(path) as first:
        first.write(b"first")
        write(path, b"second")
        assert path.read_bytes() == b"second"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.png": b"first"}


def test_a_failed_write_leaves_nothing(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as file:
        file.write(b"new")
        raise ZeroDivisionError
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.png": b"old"}


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe"])
def test_files_of_others_with_the_temporary_name_are_not_touched(tmp_path, kind):
    killed_while_writing(tmp_path / "a.png")
    (temporary,) = tmp_path.iterdir()
    temporary.unlink()
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    if kind == "link":
        temporary.symlink_to(precious)
    elif kind == "hard link":
        temporary.hardlink_to(precious)
    else:
        os.mkfifo(temporary)
    write(tmp_path / "a.png")
    assert precious.read_bytes() == b"precious"
    assert (tmp_path / "a.png").read_bytes() == b"new"
    assert not (tmp_path / "a.png").is_symlink()


@pytest.mark.parametrize("name", ["x" * 255, "\U0001f600" * 63, "a\udcff.png"])
def test_every_name_of_the_file_system_can_be_written(tmp_path, name):
    write(tmp_path / name)
    assert (tmp_path / name).read_bytes() == b"new"
