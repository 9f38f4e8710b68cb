"""Weights of opened engines: shared by processes, small in memory, and safe when files change."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from table_engine import ROWS, built, logits, run

from vim_deploy import child, files, load
from vim_deploy.engines import shared_weights
from vim_deploy.engines.container import read_engine
from vim_deploy.errors import EngineError

pytest.importorskip("onnxruntime", reason="building engines needs onnxruntime")

MB = 1_000_000


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VIM_DEPLOY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def engine() -> Path:
    return built()


def copies(cache: Path) -> list[Path]:
    folder = cache / "weights"
    return sorted(folder.glob("*.weights")) if folder.exists() else []


def test_an_opened_engine_maps_a_read_only_copy(engine, cache):
    with load(engine) as opened:
        np.testing.assert_allclose(run(opened), [[0, 0, 3]])
        (copy,) = copies(cache)
        assert copy.stem == opened.manifest.payload.sha256
        assert copy.stat().st_mode & 0o777 == 0o400
        assert str(copy) in Path("/proc/self/maps").read_text()
        assert str(engine.resolve()) not in Path("/proc/self/maps").read_text()
    inode = copy.stat().st_ino
    logits(engine)
    assert [path.stat().st_ino for path in copies(cache)] == [inode]


def test_small_weights_are_not_copied(cache):
    np.testing.assert_allclose(logits(built(columns=1000)), [[0, 0, 3]])
    assert copies(cache) == []


def _in_private(engine: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "vim_deploy"):
        np.testing.assert_allclose(logits(engine), [[0, 0, 3]])
    assert "weights are in memory of this process, not shared with others" in caplog.text


def test_without_a_cache_weights_are_in_private_memory(engine, tmp_path, monkeypatch, caplog):
    Path("file").write_text("")
    monkeypatch.setenv("VIM_DEPLOY_CACHE", str(tmp_path / "file"))
    _in_private(engine, caplog)


def test_without_a_home_folder_weights_are_in_private_memory(engine, monkeypatch, caplog):
    monkeypatch.delenv("VIM_DEPLOY_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # what it does for an unknown user
    _in_private(engine, caplog)
    assert "no home folder" in caplog.text


def test_on_network_file_systems_weights_are_in_private_memory(engine, cache, monkeypatch, caplog):
    class Everything:
        def __contains__(self, kind: object) -> bool:
            return True

    assert files.is_on_local_disk("/proc")
    monkeypatch.setattr(files, "_NETWORK_FILE_SYSTEMS", Everything())
    _in_private(engine, caplog)
    assert "network file system" in caplog.text and copies(cache) == []


def _flip(path: Path, place: int) -> None:
    path.chmod(0o600)
    content = bytearray(path.read_bytes())
    content[place] ^= 0x40
    path.write_bytes(content)


def _damage(copy: Path) -> None:
    _flip(copy, 5000)
    copy.chmod(0o400)


def _shorten(copy: Path) -> None:
    copy.chmod(0o600)
    os.truncate(copy, 5000)
    copy.chmod(0o400)


def _link(copy: Path) -> None:
    copy.rename("elsewhere")
    copy.symlink_to(Path("elsewhere").resolve())


@pytest.mark.parametrize("change", [_damage, _shorten, lambda copy: copy.chmod(0o600), _link])
def test_an_unsafe_or_damaged_copy_is_replaced(engine, cache, caplog, change):
    logits(engine)
    (copy,) = copies(cache)
    change(copy)
    np.testing.assert_allclose(logits(engine), [[0, 0, 3]])
    assert "copying the weights again" in caplog.text
    (replaced,) = copies(cache)
    assert not replaced.is_symlink() and replaced.stat().st_mode & 0o777 == 0o400
    caplog.clear()
    logits(engine)
    assert not caplog.records


def test_the_copy_of_another_user_is_neither_used_nor_removed(engine, cache, monkeypatch, caplog):
    logits(engine)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    _in_private(engine, caplog)
    assert f"belongs to another user (ID {owner}). Set VIM_DEPLOY_CACHE" in caplog.text
    assert len(copies(cache)) == 1 and "copying the weights again" not in caplog.text


def test_a_full_disk_is_named_without_its_number(engine, cache, monkeypatch, caplog):
    @contextlib.contextmanager
    def full(*arguments: Any, **options: Any) -> Iterator[None]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        yield

    monkeypatch.setattr(shared_weights, "atomic_write", full)
    _in_private(engine, caplog)
    assert ".weights cannot be used: No space left on device." in caplog.text


@pytest.mark.parametrize("opened_before", [False, True])
def test_damaged_weights_are_refused(engine, cache, opened_before):
    """Also if there is an intact copy of them."""
    if opened_before:
        logits(engine)
    _flip(engine, engine.stat().st_size // 2)
    with pytest.raises(EngineError, match=r"payload\.sha256 is .* Build it again: vim-build table\.onnx"):
        logits(engine)
    with pytest.raises(EngineError, match=r"payload\.sha256"):
        read_engine(engine)
    assert len(copies(cache)) == opened_before


# What may happen to the files of an opened engine. Each function is called with the engine and its copy.
def _copy_another_over_it(engine: Path, copy: Path) -> None:
    """As `cp` does: the file is cut and then written."""
    shutil.copyfile("other.engine", engine)


def _cut_the_engine(engine: Path, copy: Path) -> None:
    os.truncate(engine, 0)


def _replace_the_engine(engine: Path, copy: Path) -> None:
    Path("other.engine").replace(engine)


def _remove_the_copy(engine: Path, copy: Path) -> None:
    from vim_deploy.engines.cache_entries import cache_entries, remove_entry

    (entry,) = (entry for entry in cache_entries() if entry.path.name == copy.name)
    assert entry.content == "weights of opened engines"
    remove_entry(entry)
    assert not copy.exists()


CHANGES = {
    change.__name__: change
    for change in (_copy_another_over_it, _cut_the_engine, _replace_the_engine, _remove_the_copy)
}


def run_while_files_change(change: str) -> None:
    """In a child process."""
    engine = Path("table.engine")
    with load(engine) as opened:
        (copy,) = copies(Path("cache"))
        CHANGES[change](engine, copy)
        print(json.dumps(run(opened).tolist()))


def read_a_mapped_engine_that_is_cut() -> None:
    """In a child process."""
    import mmap

    with Path("table.engine").open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    os.truncate("table.engine", 0)
    print(content[100_000])


def in_child(function: Callable[..., None], **arguments: Any) -> subprocess.CompletedProcess[str]:
    command = child.command(f"{__name__}:{function.__name__}", **arguments)
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("change", list(CHANGES))
def test_a_process_survives_changes_of_the_files(engine, change):
    built(value=7.0, name="other.engine")
    done = in_child(run_while_files_change, change=change)
    assert (done.returncode, done.stdout) == (0, "[[0.0, 0.0, 3.0]]\n"), done.stderr


def test_a_process_that_maps_the_engine_itself_would_be_killed(engine):
    assert in_child(read_a_mapped_engine_that_is_cut).returncode == -signal.SIGBUS


def measure_opened() -> None:
    """In a child process: prints memory in bytes while other processes have the engine open too."""
    import onnxruntime  # noqa: F401

    from vim_deploy.bench import memory

    memory.reset_peak()
    start, anonymous = memory.resident(), smaps("Anonymous")
    with load("table.engine") as opened:
        run(opened)
        peak = memory.peak() - start
        print("opened", flush=True)
        sys.stdin.readline()
        run(opened)
        found = {
            "peak": peak,
            "anonymous": smaps("Anonymous") - anonymous,
            "mapped": smaps("Pss", ".weights"),
        }
        print(json.dumps(found), flush=True)
        sys.stdin.readline()


def smaps(field: str, file: str | None = None) -> int:
    """Bytes of this process, or of its mappings of files whose names end in `file`."""
    total, counted = 0, file is None
    for line in Path("/proc/self/smaps").read_text().splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            counted = file is None or line.endswith(file)
        elif counted and words[0] == f"{field}:":
            total += int(words[1]) * 1024
    return total


def measured(processes: int) -> list[dict[str, int]]:
    started = [
        subprocess.Popen(
            child.command(f"{__name__}:measure_opened"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(processes)
    ]
    pipes = [(process.stdin, process.stdout) for process in started]
    found = []
    for _, output in pipes:
        assert output is not None and output.readline() == "opened\n"
    for given, output in pipes:
        assert given is not None and output is not None
        given.write("\n")
        given.flush()
        found.append(json.loads(output.readline()))
    for process in started:
        process.communicate()
    return found


def test_memory_of_one_process_and_of_two():
    """In units of the weights: before they were mapped, the peak was 3.3, and nothing was shared.

    Besides the weights, opening takes less than 30 MB for the checks and for the runtime.
    """
    weights = 4 * ROWS * 5_000_000
    engine = built(columns=5_000_000)
    measured(1)  # copies the weights; later processes map the copy and hash it
    (alone,) = measured(1)
    assert weights < alone["peak"] < 1.25 * weights + 30 * MB
    assert alone["anonymous"] < 0.25 * weights + 30 * MB
    # A run reads one of the rows.
    assert 0.9 * weights / ROWS < alone["mapped"] <= 1.1 * weights
    shared = sum(process["mapped"] for process in measured(2))
    assert shared < 1.1 * alone["mapped"]
    assert engine.stat().st_size < 1.01 * weights


def test_of_several_processes_that_open_first_each_gets_the_weights(engine, cache):
    for found in measured(3):
        assert found["mapped"] > 0
    assert len(copies(cache)) == 1
    assert copies(cache)[0].parent.name == shared_weights.FOLDER
