"""tools/gpu_check as far as a machine without a GPU can take it: programs compile, parts are right."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from native_programs import PROGRAMS, SCAN

TOOL = PROGRAMS.parents[1] / "tools" / "gpu_check"
sys.path.insert(0, str(TOOL))

import floors  # noqa: E402
import one_node  # noqa: E402


@pytest.mark.slow
@pytest.mark.parametrize("name", ["scan_numerics", "scan_speed"])
def test_program_compiles(name: str, tmp_path: Path) -> None:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc on PATH: the GPU programs are not compiled here")
    flags = ["-std=c++17", "-arch=sm_90", "-Werror", "all-warnings", f"-I{SCAN}", f"-I{PROGRAMS}"]
    command = [nvcc, *flags, "-c", str(TOOL / f"{name}.cu"), "-o", str(tmp_path / "program.o")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


def test_without_a_gpu_it_says_so_and_stops(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": str(tmp_path)}
    command = [sys.executable, str(TOOL / "run.py"), "--out", str(tmp_path / "out"), "--steps", "numerics"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    assert "nothing was run" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_failing_step_fails_the_run_and_leaves_its_log(tmp_path: Path) -> None:
    for name in ("nvidia-smi", "nvcc"):
        stand_in = tmp_path / name
        stand_in.write_text(f"#!/bin/sh\necho stand-in {name}\ntest {name} = nvidia-smi\n")
        stand_in.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    out = tmp_path / "out"
    command = [sys.executable, str(TOOL / "run.py"), "--out", str(out), "--steps", "numerics,speed"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert done.stdout.count('"passed": false') == 2
    assert "non-zero exit status" in (out / "numerics.log").read_text()


def test_floor_of_the_tuned_shape() -> None:
    """64 x 197 x 384 elements of 19 special functions and 8 bytes each, and 32 values of B and C a row."""
    elements = 64 * 197 * 384
    found = floors.floors(floors.H200, 64, 197, 384, 16, 2)
    assert found.special == pytest.approx(elements * 19 / (16 * 132 * 1.98e9))
    assert found.memory == pytest.approx((elements * 8 + 64 * 197 * 64) / 4.8e12)


@pytest.mark.parametrize("reverse", [False, True])
def test_one_node_reference_is_the_operators(reverse: bool) -> None:
    torch = pytest.importorskip("torch", reason="no PyTorch: the reference operator cannot be run")
    from vim_deploy.ops.reference import selective_scan_reference

    inputs = one_node.make_inputs("float32", seed=3)
    tensors = [torch.from_numpy(inputs[name]).double() for name in one_node.NAMES]
    reference = selective_scan_reference(*tensors, delta_softplus=True, reverse=reverse).numpy()
    found = one_node.expected(inputs, reverse)
    assert np.abs(found - reference).max() <= 1e-12 * np.abs(reference).max()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_one_node_graph_is_sound(dtype: str) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(one_node.make_graph(dtype, reverse=True))
    onnx.checker.check_model(model)
    (node,) = model.graph.node
    assert (node.op_type, list(node.input)) == ("SelectiveScan", list(one_node.NAMES))
    attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    assert attributes == {
        "delta_softplus": 1,
        "reverse": 1,
        "plugin_version": b"1",
        "plugin_namespace": b"vim_deploy",
    }
