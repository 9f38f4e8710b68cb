"""tools/gpu_check without a GPU: programs compile, and the parts that do not need a GPU are correct."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from native_programs import FUSED, PROGRAMS, SANITIZERS, SCAN, build, run

TOOL = PROGRAMS.parents[1] / "tools" / "gpu_check"
sys.path.insert(0, str(TOOL))

import engine_parity  # noqa: E402
import floors  # noqa: E402
import networks  # noqa: E402
import one_node  # noqa: E402
import run as run_all  # noqa: E402


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["scan_numerics", "scan_speed", "scan_compare", "scan_baseline", "gpu_library", "pair_check"]
)
def test_program_compiles(name: str, tmp_path: Path) -> None:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc on PATH: the GPU programs are not compiled here")
    flags = ["-std=c++17", "-arch=sm_90", "-Werror", "all-warnings"]
    flags += [f"-I{folder}" for folder in (SCAN, FUSED, PROGRAMS, TOOL)]
    command = [nvcc, *flags, "-c", str(TOOL / f"{name}.cu"), "-o", str(tmp_path / "program.o")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


def test_run_stops_without_a_gpu(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": str(tmp_path)}
    command = [sys.executable, str(TOOL / "run.py"), "--out", str(tmp_path / "out"), "--steps", "numerics"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    assert "nothing was run" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_failing_step_fails_the_run_and_writes_its_log(tmp_path: Path) -> None:
    for name in ("nvidia-smi", "nvcc"):
        fake = tmp_path / name
        fake.write_text(f"#!/bin/sh\necho fake {name}\ntest {name} = nvidia-smi\n")
        fake.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    out = tmp_path / "out"
    command = [sys.executable, str(TOOL / "run.py"), "--out", str(out), "--steps", "numerics,speed"]
    command += ["--work", str(tmp_path / "work")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert done.stdout.count('"passed": false') == 2
    assert "non-zero exit status" in (out / "numerics.log").read_text()


def test_a_hanging_step_times_out_and_the_next_one_runs(tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = run_all.parse(["--out", str(out), "--work", str(tmp_path / "work"), "--steps", "numerics"])
    out.mkdir()
    hanging = run_all.Step(lambda options: [[sys.executable, "-c", "import time; time.sleep(60)"]], 1)
    printing = run_all.Step(lambda options: [[sys.executable, "-c", 'print(\'{"step": "x"}\')']], 20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_all, "STEPS", {"numerics": hanging, "speed": printing})
        assert run_all.run_step("numerics", options) is False
        assert run_all.run_step("speed", options) is True
    assert "timed out" in (out / "numerics.log").read_text()
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert [(line["step"], line.get("passed")) for line in lines] == [
        ("numerics", False),
        ("x", None),
        ("speed", True),
    ]


def test_commands_get_the_plugin_in_their_environment(tmp_path: Path) -> None:
    arguments = ["--out", str(tmp_path / "out"), "--steps", "speed", "--plugin"]
    plugin = tmp_path / "plugin.so"
    assert "VIM_DEPLOY_TRT_LIBRARY" not in run_all._environment(run_all.parse([*arguments, str(plugin)]))
    plugin.write_bytes(b"")
    environment = run_all._environment(run_all.parse([*arguments, str(plugin)]))
    assert environment["VIM_DEPLOY_TRT_LIBRARY"] == str(plugin)


def test_every_call_takes_at_most_ten_minutes() -> None:
    for steps in run_all.CALLS.values():
        assert sum(run_all.STEPS[step].seconds for step in steps) <= 580
    assert {step for steps in run_all.CALLS.values() for step in steps} == set(run_all.STEPS)


def test_the_readme_lists_every_step() -> None:
    text = (TOOL / "README.md").read_text()
    for name in (*run_all.CALLS, *run_all.STEPS):
        assert f"`{name}`" in text, name


def test_the_baseline_scan_is_correct(tmp_path: Path) -> None:
    """Its source on the CPU with the sanitizers: benchmarks against an incorrect baseline are meaningless."""
    sources = [PROGRAMS / "test_scan_baseline.cpp", PROGRAMS / "scan_oracle.cpp"]
    flags = ("-fno-strict-aliasing", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", f"-I{TOOL}")
    assert ": 0 failures" in run(build(tmp_path / "baseline", sources, *SANITIZERS, *flags))


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """TensorRT, pycuda and the GPU as fakes."""
    pytest.importorskip("onnxruntime", reason="the fake's engines are run by onnxruntime")
    pytest.importorskip("torch")
    from tensorrt_environment import Environment

    place = Environment(tmp_path, monkeypatch)
    place.install(10)
    return place


def test_engine_parity_reports_differences_from_the_eager_model(environment: Any, capsys: Any) -> None:
    import torch
    from small_exports import IMAGE_SIZE, small_model

    pixels = np.random.default_rng(0).standard_normal((5, 3, *IMAGE_SIZE), np.float32)
    model = small_model()  # cached: its weights must not be inference tensors, which cannot be exported
    with torch.inference_mode():
        logits = model(torch.from_numpy(pixels)).numpy()
    reference = environment.folder / "eager.npz"
    engine = environment.build("fp16", min_batch=2, opt_batch=2, max_batch=2)
    np.savez(reference, pixels=pixels, logits=logits)
    assert engine_parity.main([str(engine), str(reference), "2e-2"]) == 0
    assert json.loads(capsys.readouterr().out)["different_top1"] == 0
    np.savez(reference, pixels=pixels, logits=-logits)
    assert engine_parity.main([str(engine), str(reference), "2e-2"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["passed"], found["images"]) == (False, 5) and found["different_top1"] > 0
    assert len(found["top1_margins"]) == found["different_top1"] and min(found["top1_margins"]) >= 0


def test_networks_are_measured_and_a_missing_one_is_reported(environment: Any, capsys: Any) -> None:
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("Cast", ["pixels"], ["reduced"], "reduced", to=kinds.FLOAT16),
        helper.make_node("ReduceMean", ["reduced"], ["means"], "means", axes=[2, 3], keepdims=0),
        helper.make_node("Cast", ["means"], ["logits"], "upcast", to=kinds.FLOAT),
    ]
    pixels = helper.make_tensor_value_info("pixels", kinds.FLOAT, ["batch", 3, 16, 16])
    logits = helper.make_tensor_value_info("logits", kinds.FLOAT, ["batch", 3])
    graph = helper.make_graph(nodes, "means", [pixels], [logits])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save_model(model, str(environment.folder / "vim_tiny_fp16_16.onnx"))
    arguments = [str(environment.folder), "--sizes", "16", "--batches", "1,4", "--repeats", "3"]
    assert networks.main(arguments) == 1  # DeiT's file is missing
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["network"], row["batch"], "error" in row) for row in rows] == [
        ("Vim-Ti", 1, False),
        ("DeiT-Ti", 1, True),
        ("Vim-Ti", 4, False),
        ("DeiT-Ti", 4, True),
    ]
    assert rows[0]["runs"] == 3 and rows[0]["activations_mib"] == 7
    assert environment.recorder.named("set_shape")[1] == ("pixels", *[(4, 3, 16, 16)] * 3)


def test_eager_stops_without_a_gpu(capsys: Any) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this PyTorch sees a GPU")
    import eager

    assert eager.main(["library.so"]) == 2
    assert "nothing was run" in capsys.readouterr().err


def test_scans_with_channels_first_get_copies_and_flips() -> None:
    torch = pytest.importorskip("torch")
    import gpu_scan

    from vim_deploy.ops.reference import selective_scan_reference

    def length_last(*tensors: Any, delta_softplus: bool) -> Any:
        assert all(tensor.is_contiguous() for tensor in tensors)
        transposed = [tensor.transpose(1, 2) if tensor.dim() == 3 else tensor for tensor in tensors]
        y = selective_scan_reference(*transposed, delta_softplus=delta_softplus, reverse=False)
        return y.transpose(1, 2)

    inputs = one_node.make_inputs("float32", seed=5)
    tensors = [torch.from_numpy(inputs[name]) for name in one_node.SHAPES]
    for reverse in (False, True):
        found = gpu_scan._channels_first(length_last)(*tensors, delta_softplus=True, reverse=reverse)
        expected = selective_scan_reference(*tensors, delta_softplus=True, reverse=reverse)
        assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5)  # sums of float32 in another order


def test_floor_of_the_tuned_shape() -> None:
    """64 x 197 x 384 elements with 19 special functions and 8 bytes each; 32 values of B and C per row."""
    elements = 64 * 197 * 384
    found = floors.floors(floors.H200, 64, 197, 384, 16, 2)
    assert found.special == pytest.approx(elements * 19 / (16 * 132 * 1.98e9))
    assert found.memory == pytest.approx((elements * 8 + 64 * 197 * 64) / 4.8e12)


@pytest.mark.parametrize("reverse", [False, True])
def test_one_node_reference_equals_the_operator_reference(reverse: bool) -> None:
    torch = pytest.importorskip("torch", reason="no PyTorch: the reference operator cannot be run")
    from vim_deploy.ops.reference import selective_scan_reference

    inputs = one_node.make_inputs("float32", seed=3)
    tensors = [torch.from_numpy(inputs[name]).double() for name in one_node.SHAPES]
    reference = selective_scan_reference(*tensors, delta_softplus=True, reverse=reverse).numpy()
    found = one_node.expected(inputs, reverse)
    assert np.abs(found - reference).max() <= 1e-12 * np.abs(reference).max()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_one_node_graph_is_valid(dtype: str) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(one_node.make_graph(dtype, reverse=True))
    onnx.checker.check_model(model)
    (node,) = model.graph.node
    assert (node.op_type, list(node.input)) == ("SelectiveScan", list(one_node.SHAPES))
    attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    assert attributes == {
        "delta_softplus": 1,
        "reverse": 1,
        "groups": 1,
        "plugin_version": b"2",
        "plugin_namespace": b"vim_deploy",
    }
