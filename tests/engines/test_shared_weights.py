"""Weights of opened engines: shared by processes, small in memory, and safe when files change."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_onnx import finish, metadata, save

from vim_deploy import child, files, load
from vim_deploy.engines import shared_weights
from vim_deploy.engines.build import build_engine
from vim_deploy.engines.container import WEIGHTS_NAME, read_engine, read_manifest, write_engine
from vim_deploy.engines.manifest import FileRecord
from vim_deploy.engines.payload import ALIGNMENT, Payload
from vim_deploy.engines.stored_tensors import split_weights
from vim_deploy.errors import EngineError

pytest.importorskip("onnxruntime", reason="building engines needs onnxruntime")

CLASSES = ("red", "green", "blue")
ROWS = 3
MB = 1_000_000


def table_model(columns: int, value: float = 1.0) -> onnx.ModelProto:
    """Logits are the colors' means, times the mean of the row of a table that the strongest one selects."""
    table = np.full((ROWS, columns), value, np.float32) * np.arange(1, ROWS + 1, dtype=np.float32)[:, None]
    nodes = [
        helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("ArgMax", ["mean"], ["row"], axis=1, keepdims=0),
        helper.make_node("Gather", ["table", "row"], ["selected"], axis=0),
        helper.make_node("ReduceMean", ["selected"], ["scale"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["mean", "scale"], ["logits"]),
    ]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 3, 8, 8])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])
    graph = helper.make_graph(nodes, "table", [pixels], [logits], [numpy_helper.from_array(table, "table")])
    return finish(graph, metadata(class_names=CLASSES))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VIM_DEPLOY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def built(columns: int = 200_000, value: float = 1.0, name: str = "table.engine") -> Path:
    """An engine; by default with 2.4 MB of weights."""
    build_engine(save(table_model(columns, value), Path("table.onnx")), name)
    return Path(name)


@pytest.fixture
def engine() -> Path:
    return built()


def copies(cache: Path) -> list[Path]:
    folder = cache / "weights"
    return sorted(folder.glob("*.weights")) if folder.exists() else []


def logits(path: Path) -> np.ndarray:
    with load(path) as opened:
        return run(opened)


def run(opened: Any) -> np.ndarray:
    pixels = np.zeros((1, 3, 8, 8), np.float32)
    pixels[0, 2] = 1
    outputs: np.ndarray = opened.run(pixels)["logits"]
    return outputs


def test_weights_are_stored_apart_uncompressed_and_aligned(engine):
    manifest, payload = read_engine(engine)
    assert manifest.offsets == {"table": 0} and len(payload.weights) == 4 * ROWS * 200_000
    assert len(payload.data) < 10_000
    content = engine.read_bytes()
    assert content.find(bytes(payload.weights)) % 4096 == 0
    assert (manifest.payload.bytes, manifest.payload.sha256) == (payload.bytes, payload.sha256)
    assert not onnx.load_model_from_string(payload.data).graph.initializer[0].external_data


def test_offsets_are_aligned_for_all_types():
    values = {
        "a": np.arange(301, dtype=np.float32),
        "b": np.arange(1027, dtype=np.int8),
        "c": np.arange(600, dtype=np.float16),
        "small": np.arange(3, dtype=np.int64),
    }
    model = onnx.ModelProto(graph=helper.make_graph([], "g", [], []))
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in values.items())
    model.graph.initializer.append(helper.make_tensor("d", TensorProto.BFLOAT16, [600], [1.5] * 600))
    payload = split_weights(model.SerializeToString())
    assert set(payload.offsets) == {"a", "b", "c", "d"}
    assert all(offset % ALIGNMENT == 0 for offset in payload.offsets.values())
    for name in ("a", "b", "c"):
        stored = np.frombuffer(payload.weights, values[name].dtype, len(values[name]), payload.offsets[name])
        np.testing.assert_array_equal(stored, values[name])
    assert np.frombuffer(payload.weights, np.uint16, 600, payload.offsets["d"]).tolist() == [0x3FC0] * 600


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


def forged(engine: Path, content: Payload | None = None, **changes: Any) -> Path:
    """The engine with changed content and valid hashes."""
    manifest, before = read_engine(engine)
    content = content or before
    record = FileRecord(manifest.payload.name, content.sha256, content.bytes)
    write_engine(engine, dataclasses.replace(manifest, **{"payload": record, **changes}), content)
    return engine


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ({"table": -64}, "where it does not fit"),
        ({"table": 1}, "where it does not fit"),
        ({"table": 64}, "where it does not fit"),
        ({"table": 1 << 70}, "where it does not fit"),
        ({"other": 0}, r"which tensors are in the weights: \['other', 'table'\]"),
        ({"table": 0, "mean": 0}, r"which tensors are in the weights: \['mean'\]"),
        ({}, "contains"),
    ],
)
def test_offsets_that_do_not_fit_are_refused(engine, offsets, message):
    with pytest.raises(EngineError, match=message):
        load(forged(engine, offsets=offsets))


def _changed(payload: Payload, change: Callable[[onnx.TensorProto], None]) -> Payload:
    model = onnx.load_model_from_string(payload.data)
    change(model.graph.initializer[0])
    return Payload(model.SerializeToString(), payload.weights, payload.offsets)


def _larger(tensor: onnx.TensorProto) -> None:
    tensor.dims[0] += 1


def _negative(tensor: onnx.TensorProto) -> None:
    tensor.dims[:] = [-3, -200_000]


def _of_strings(tensor: onnx.TensorProto) -> None:
    tensor.data_type = TensorProto.STRING


def _external(tensor: onnx.TensorProto) -> None:
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_larger, "where it does not fit"),
        (_negative, "larger than the file"),
        (_of_strings, "where it does not fit"),
        (_external, r"another file \(/etc/passwd\)"),
    ],
)
def test_graphs_that_do_not_fit_the_weights_are_refused(engine, change, message):
    payload = read_engine(engine)[1]
    with pytest.raises(EngineError, match=message):
        load(forged(engine, _changed(payload, change)))


def test_a_hash_that_is_no_hash_is_refused(engine):
    """It is the name of the copy."""
    record = FileRecord("model.onnx", "../../x", read_manifest(engine).payload.bytes)
    with pytest.raises(EngineError, match="name or hash of the payload"):
        load(forged(engine, payload=record))


def test_compressed_weights_are_refused(engine):
    with zipfile.ZipFile(engine) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(engine, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data, zipfile.ZIP_DEFLATED if name == WEIGHTS_NAME else zipfile.ZIP_STORED)
    with pytest.raises(EngineError, match=r"weights\.bin is compressed"):
        load(engine)


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
