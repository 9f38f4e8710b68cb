"""vim-cache: what is listed, and that only entries of the cache are removed."""

from __future__ import annotations

import json
import os
import time
from functools import partial
from pathlib import Path

import commands
import pytest
from changed_engine import changed_engine
from infer_command import make_images
from small_onnx import color_model, save

from vim_deploy.cli.cache import main
from vim_deploy.engines.open import open_engine
from vim_deploy.files import atomic_write

DAY = 86400
RECORD = "record of a checked graph"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch) -> Path:
    """A cache with an engine that can be opened, one from another machine, and files that are no entries."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VIM_DEPLOY_CACHE", str(tmp_path / "cache"))
    for name, scale in (("a.onnx", "one"), ("b.onnx", "two")):
        open_engine(save(color_model(variant=scale), Path(name))).close()
    (other,) = (path for path in engines() if content_of(path).startswith("b.onnx"))
    changed_engine(other, environment={"instruction_set": "avx1024"})
    Path("cache/engines/notes.txt").write_text("of the user")
    Path("cache/engines", "0" * 40 + ".engine").symlink_to(tmp_path / "a.onnx")
    return tmp_path


def engines() -> list[Path]:
    return [path for path in Path("cache/engines").glob("*.engine") if not path.is_symlink()]


cache = partial(commands.invoke, main)


def listed(*arguments: object) -> list[dict]:
    result = cache(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def content_of(path: Path) -> str:
    return next(entry["content"] for entry in listed() if Path(entry["path"]).name == path.name)


def engine_sources() -> list[str]:
    """The sources of the listed engines, in this order."""
    return [entry["content"].split()[0] for entry in listed() if entry["content"] != RECORD]


def test_entries_are_listed_with_their_problems():
    found = {entry["content"]: entry for entry in listed()}
    assert set(found) == {"a.onnx for onnxruntime on cpu", "b.onnx for onnxruntime on cpu", RECORD}
    assert found["a.onnx for onnxruntime on cpu"]["problem"] is None
    assert "instruction_set is avx1024" in found["b.onnx for onnxruntime on cpu"]["problem"]
    assert all(entry["bytes"] == Path(entry["path"]).stat().st_size for entry in found.values())
    text = cache().stdout
    assert "b.onnx for onnxruntime on cpu, cannot be opened here\n" in text
    assert text.splitlines()[-1].startswith("4 entries (")


def test_prune_removes_what_cannot_be_opened():
    assert len(listed("prune", "--dry-run")) == 1
    assert len(engines()) == 2
    result = cache("prune")
    assert result.exit_code == 0
    assert "1 entry" in result.stdout and "removed from" in result.stdout
    assert engine_sources() == ["a.onnx"] and len(listed()) == 3
    assert Path("cache/engines/notes.txt").exists() and Path("a.onnx").exists()


def test_prune_removes_what_was_not_used():
    for path in engines():
        os.utime(path, (time.time() - 10 * DAY,) * 2)
    open_engine("a.onnx").close()  # used again
    assert engine_sources() == ["a.onnx", "b.onnx"]
    cache("prune", "--unused-days", 5)
    assert engine_sources() == ["a.onnx"]
    cache("prune", "--unused-days", 0)
    assert listed() == []


def test_all_entries_are_removed_on_request():
    exports = Path("cache/exports")
    exports.mkdir()
    (exports / f"vim_tiny-{'a' * 40}.onnx").write_bytes(b"x")
    (exports / "mine.onnx").write_bytes(b"x")
    assert "vim_tiny" in {entry["content"] for entry in listed()}
    cache("prune", "--all")
    assert listed() == [] and engines() == []
    assert (exports / "mine.onnx").exists() and Path("cache/engines/notes.txt").exists()


class KilledError(Exception):
    """Stands for a signal: nothing is cleaned up."""


def test_prune_removes_what_killed_processes_left(monkeypatch):
    """But not what may still be written."""
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", lambda *arguments, **options: None)
        # While the first file is locked, the second one gets another name.
        with pytest.raises(KilledError), atomic_write("cache/engines/x.engine") as first:
            first.write(b"half")
            with atomic_write("cache/engines/x.engine") as second:
                second.write(b"half")
                raise KilledError
    left = [path for path in Path("cache/engines").iterdir() if path.suffix == ".tmp"]
    assert len(left) == 2
    assert "unfinished file" not in {entry["content"] for entry in listed()}
    for path in left:
        os.utime(path, (time.time() - 2 * 3600,) * 2)
    assert [entry["content"] for entry in listed()].count("unfinished file") == len(left)
    assert "unfinished file, cannot be opened here" in cache().stdout
    cache("prune")
    assert not any(path.exists() for path in left)


def test_an_empty_cache_and_invalid_options(monkeypatch, tmp_path):
    monkeypatch.setenv("VIM_DEPLOY_CACHE", str(tmp_path / "none"))
    assert cache().stdout == f"0 entries (0.0 MB) in {tmp_path / 'none'}\n"
    result = cache("--all")
    assert result.exit_code == 2
    assert "need the action prune" in result.stderr
    make_images("images", 1)
    monkeypatch.setenv("VIM_DEPLOY_CACHE", str(tmp_path / "images" / "00000.png"))
    assert cache().exit_code == 0  # not a folder: there are no entries
