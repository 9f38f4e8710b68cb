"""Untrusted graphs run in a process with limits of memory and time when an engine is built."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_onnx import color_model, save

from vim_deploy import child
from vim_deploy.engines.build import build_engine
from vim_deploy.engines.limits import MEMORY_VARIABLE, SECONDS_VARIABLE, limits_for
from vim_deploy.engines.onnxruntime import limited
from vim_deploy.errors import EngineError


def _large_model(elements: int) -> onnx.ModelProto:
    """The size of its tensor follows from values, not from the graph."""
    model = color_model()
    values = {"factor": np.array([1 << 16]), "count": np.array([elements >> 16])}
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in values.items())
    model.graph.node.extend(
        [
            helper.make_node("Mul", ["factor", "count"], ["elements"]),
            helper.make_node("Expand", ["ten", "elements"], ["expanded"]),
            helper.make_node("ReduceMean", ["expanded"], ["unused"], keepdims=0),
        ]
    )
    model.graph.output.append(helper.make_tensor_value_info("unused", TensorProto.FLOAT, []))
    return model


def _slow_model() -> onnx.ModelProto:
    """A scan over 2 ** 29 elements: each is fast, all of them take minutes."""
    model = color_model()
    model.graph.initializer.append(numpy_helper.from_array(np.array([1 << 29]), "length"))
    false = numpy_helper.from_array(np.array([False]), "value")
    element = helper.make_tensor_value_info("element", TensorProto.BOOL, [])
    scanned = helper.make_tensor_value_info("negated", TensorProto.BOOL, [])
    body = helper.make_graph(
        [helper.make_node("Not", ["element"], ["negated"])], "body", [element], [scanned]
    )
    model.graph.node.extend(
        [
            helper.make_node("ConstantOfShape", ["length"], ["elements"], value=false),
            helper.make_node("Scan", ["elements"], ["all"], body=body, num_scan_inputs=1),
            helper.make_node("Slice", ["all", "zero", "one"], ["first"]),
        ]
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "zero"))
    model.graph.initializer.append(numpy_helper.from_array(np.array([1]), "one"))
    model.graph.output.append(helper.make_tensor_value_info("first", TensorProto.BOOL, [1]))
    return model


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Temporary files are created here."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_graph_that_needs_gigabytes_is_refused(folder):
    model = save(_large_model(1 << 31), folder / "large.onnx")
    with pytest.raises(EngineError, match=rf"large\.onnx: .* needs more than 1\.\d GB.*{MEMORY_VARIABLE}"):
        build_engine(model, folder / "large.engine")
    assert _files(folder) == {"large.onnx", "temporary"}


def test_a_chosen_limit_replaces_the_default(folder, monkeypatch):
    model = save(_large_model(1 << 28), folder / "large.onnx")
    monkeypatch.setenv(MEMORY_VARIABLE, "0.7")
    with pytest.raises(EngineError, match=r"needs more than 0\.7 GB"):
        build_engine(model, folder / "large.engine")
    monkeypatch.setenv(MEMORY_VARIABLE, "4")
    build_engine(model, folder / "large.engine")


def test_a_graph_that_does_not_end_in_time_is_refused(folder, monkeypatch):
    monkeypatch.setenv(SECONDS_VARIABLE, "3")
    monkeypatch.setenv(MEMORY_VARIABLE, "4")
    model = save(_slow_model(), folder / "slow.onnx")
    with pytest.raises(EngineError, match=rf"slow\.onnx: .*took longer than 3 s.*{SECONDS_VARIABLE}"):
        build_engine(model, folder / "slow.engine")
    assert _files(folder) == {"slow.onnx", "temporary"}


@pytest.mark.parametrize("text", ["much", "0", "-1", "nan", "1e99"])
def test_an_invalid_limit_is_a_message(monkeypatch, text):
    monkeypatch.setenv(SECONDS_VARIABLE, text)
    with pytest.raises(EngineError, match=f"{SECONDS_VARIABLE} is '{text}'; expected a positive number"):
        limits_for(1, 1, 1)


def test_limits_grow_with_the_file_and_the_input_up_to_the_memory_of_the_machine(monkeypatch):
    monkeypatch.setattr("vim_deploy.machine.usable_memory", lambda: 8 << 30)
    small, large = limits_for(1 << 20, 2 * 3 * 224 * 224, 2), limits_for(248 << 20, 3 * 1024 * 1024, 2)
    assert 1 << 30 < small.memory < 4 << 30
    assert large.memory == 8 << 30
    assert 300 < small.seconds < large.seconds


def test_a_graph_may_have_many_outputs(folder):
    """More than fit into the arguments of a process."""
    model = color_model()
    for index in range(3000):
        name = f"{'o' * 50}{index}"
        model.graph.node.append(helper.make_node("Identity", ["logits"], [name]))
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 3]))
    build_engine(save(model, folder / "many.onnx"), folder / "many.engine")


def test_a_crash_of_the_process_is_a_message(folder, monkeypatch):
    model = save(color_model(), folder / "colors.onnx")
    crash = child.Result(-signal.SIGSEGV, b"", "noise\n")
    monkeypatch.setattr(limited.child, "call_limited", lambda *arguments, **options: crash)
    with pytest.raises(EngineError, match=r"colors\.onnx was killed by SIGSEGV: noise"):
        build_engine(model, folder / "colors.engine")


@pytest.mark.parametrize(
    "printed", ["OpenBLAS error: Memory allocation still failed", "MemoryError", "failed to map segment from"]
)
def test_a_process_that_ends_for_lack_of_memory_names_the_limit(folder, monkeypatch, printed):
    model = save(color_model(), folder / "colors.onnx")
    ended = child.Result(1, b"", printed)
    monkeypatch.setattr(limited.child, "call_limited", lambda *arguments, **options: ended)
    with pytest.raises(EngineError, match=f"needs more than .* set {MEMORY_VARIABLE}"):
        build_engine(model, folder / "colors.engine")


def _children(process: int) -> list[int]:
    """The processes that all threads of a process have started."""
    lists = Path(f"/proc/{process}/task").glob("*/children")
    return [int(child) for path in lists for child in path.read_text().split()]


def _is_running(process: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def _wait_for(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_the_process_ends_with_vim_build(folder, number, code):
    name = "slow.onnx"
    save(_slow_model(), folder / name)
    command = [
        sys.executable,
        "-c",
        "from vim_deploy.cli.build import main; main()",
        name,
        "-o",
        "slow.engine",
    ]
    environment = {**os.environ, MEMORY_VARIABLE: "4"}
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as parent:
        try:
            _wait_for(lambda: _children(parent.pid))
            (child,) = _children(parent.pid)
            parent.send_signal(number)
        except BaseException:
            parent.kill()
            raise
        assert parent.wait(60) == code
        assert parent.stderr is not None and "Traceback" not in parent.stderr.read()
    _wait_for(lambda: not _is_running(child))
    assert _files(folder) == {name, "temporary"}
