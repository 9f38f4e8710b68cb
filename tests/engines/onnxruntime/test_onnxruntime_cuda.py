"""ONNX Runtime on GPUs: providers and options of the sessions, and no silent fallback to the CPU.

All except the last test use a fake (tests/fake_onnxruntime.py). None needs a GPU.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest
from small_exports import IMAGE_SIZE, small_export

pytest.importorskip("onnxruntime", reason="the fake uses sessions of onnxruntime")

from fake_onnxruntime import CPU, CUDA, Behavior, fake

from vim_deploy import load
from vim_deploy.engines.build import build_engine
from vim_deploy.engines.container import read_manifest
from vim_deploy.engines.onnxruntime.cuda_bfloat16 import upcast_unsupported
from vim_deploy.engines.onnxruntime.options import OnnxruntimeOptions
from vim_deploy.errors import EngineError, OperatorLibraryError
from vim_deploy.onnx_graph.upcast import upcast_to_fp32


class Place:
    def __init__(self, folder, behavior):
        self.folder, self.behavior = folder, behavior

    def build(self, precision="fp32", **options):
        model = self.folder / f"{precision}.onnx"
        model.write_bytes(small_export(precision))
        engine = self.folder / "built.engine"
        build_engine(model, engine, OnnxruntimeOptions("cuda", **options))
        return engine


@pytest.fixture
def place(tmp_path, monkeypatch):
    library = tmp_path / "libvim_deploy_ort_cuda_fake.so"
    library.write_bytes(b"the operator")
    monkeypatch.setenv("VIM_DEPLOY_ORT_CUDA_LIBRARY", str(library))
    behavior = Behavior()
    monkeypatch.setitem(sys.modules, "onnxruntime", fake(behavior))
    return Place(tmp_path, behavior)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_every_precision_is_built_with_the_library_for_cuda(place, precision):
    manifest = read_manifest(place.build(precision))
    assert (manifest.device, manifest.precision) == ("cuda", precision)
    assert manifest.operator["implementation"] == "library"
    # The file is run on the CPU in another process.
    assert set(place.behavior.libraries) == {"libvim_deploy_ort_cuda_fake.so"}
    assert manifest.build_info["nodes"][CUDA] > manifest.build_info["nodes"][CPU]
    assert manifest.self_check["max_relative_diff"] <= manifest.self_check["tolerance"]
    assert "instruction_set" not in manifest.environment


@pytest.mark.parametrize(("precision", "tf32"), [("fp32", "0"), ("fp16", "1"), ("bf16", "1")])
def test_tf32_never_rounds_a_float32_file(place, precision, tf32):
    engine = place.build(precision)
    load(engine).close()
    on_cuda = [session for session in place.behavior.sessions if session["providers"] != [CPU]]
    # The first sessions with CUDA probe the provider.
    with_options = [session["providers"] for session in on_cuda if session["providers"][0] != CUDA]
    assert len(with_options) >= 3
    assert all(providers == [(CUDA, {"use_tf32": tf32}), CPU] for providers in with_options)


def test_the_fallback_of_the_runtime_is_disabled(place):
    load(place.build()).close()
    on_cuda = [session for session in place.behavior.sessions if session["providers"] != [CPU]]
    assert on_cuda and not any(session["enable_fallback"] for session in on_cuda)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"starts": False},
            "CUDAExecutionProvider does not start; ONNX Runtime fell back to CPUExecutionProvider",
        ),
        ({"fails_with": "CUDA failure 100: no device"}, "CUDA failure 100: no device"),
    ],
)
def test_a_provider_that_does_not_start_fails_building_and_opening(place, change, message):
    engine = place.build()
    vars(place.behavior).update(change)
    for attempt in (place.build, lambda: load(engine)):
        with pytest.raises(EngineError, match=rf"{CUDA}: .*{message}.*There is no fallback to the CPU"):
            attempt()


@pytest.mark.parametrize("operator", ["MatMul", "SelectiveScan"])
def test_tensors_computed_on_the_cpu_are_refused(place, operator):
    place.behavior.on_cpu = (operator,)
    with pytest.raises(EngineError, match=f"computes on the CPU: .*{operator} 'layers.0"):
        place.build(optimization="none")
    assert not (place.folder / "built.engine").exists()


@pytest.mark.parametrize(
    ("profile", "message"),
    [("cut off", "cannot be read"), ("[]", "no node on the GPU"), ('[{"cat": "Node"}]', "cannot be read")],
)
def test_an_unreadable_profile_is_refused(place, profile, message):
    place.behavior.profile = profile
    with pytest.raises(EngineError, match=message):
        place.build()


def test_a_profile_without_the_scan_is_refused(place):
    place.behavior.profile = (
        '[{"cat": "Node", "args": {"op_name": "Add", "provider": "CUDAExecutionProvider"}}]'
    )
    with pytest.raises(EngineError, match="no SelectiveScan on the GPU"):
        place.build()


def test_an_engine_opens_and_runs(place):
    with load(place.build("fp16")) as engine:
        pixels = np.random.default_rng(1).standard_normal((3, 3, *IMAGE_SIZE), np.float32)
        assert engine.run(pixels)["logits"].shape == (3, 5)


def test_a_missing_library_is_an_error(place, monkeypatch):
    monkeypatch.setenv("VIM_DEPLOY_ORT_CUDA_LIBRARY", str(place.folder / "absent.so"))
    with pytest.raises(OperatorLibraryError, match=r"absent\.so"):
        place.build()


def test_bfloat16_nodes_without_a_kernel_run_in_float32_with_the_same_results():
    import onnx
    import onnxruntime

    before = onnx.load_model_from_string(small_export("bf16"))
    after = onnx.load_model_from_string(upcast_unsupported(small_export("bf16")))
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in onnx.shape_inference.infer_shapes(after, strict_mode=True).graph.value_info
    }
    pads = [node for node in after.graph.node if node.op_type == "Pad"]
    assert pads and {types[name] for node in pads for name in (node.input[0], node.output[0])} == {1}
    assert [value.name for value in after.graph.output] == [value.name for value in before.graph.output]
    pixels = np.random.default_rng(2).standard_normal((2, 3, *IMAGE_SIZE), np.float32)
    runs = [
        onnxruntime.InferenceSession(upcast_to_fp32(model).SerializeToString(), providers=[CPU]).run(
            None, {"pixels": pixels}
        )
        for model in (before, after)
    ]
    assert np.array_equal(runs[0][0], runs[1][0])


def test_the_installed_runtime_never_falls_back_from_cuda(tmp_path):
    """Without a fake: a build fails if the CUDA provider is missing or does not start."""
    from vim_deploy.engines.onnxruntime.providers import probe_provider

    if not probe_provider(CUDA):
        pytest.skip("the CUDA provider starts here")
    model = tmp_path / "model.onnx"
    model.write_bytes(small_export("fp32"))
    with pytest.raises(EngineError, match=f"device 'cuda' needs {CUDA}"):
        build_engine(model, tmp_path / "x.engine", OnnxruntimeOptions("cuda"))
