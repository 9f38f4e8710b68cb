"""ONNX Runtime's CUDA operator without a GPU: the adapter with a fake runtime, the library in a real one.

docs/gpu-results.md lists what these tests cannot show, such as that the provider calls it as the fake does.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from native_programs import FUSED, PROGRAMS, SANITIZERS, SCAN, WARNINGS, build, run

ADAPTER = ("ort_cuda_op.cpp", "ort_tensor.cpp", "ort_domain.cpp", "gpu_operators.cpp", "scan_cuda_plan.cpp")


def test_adapter_handles_every_call_under_the_sanitizers(tmp_path: Path) -> None:
    sources = [PROGRAMS / "test_ort_cuda.cpp", *(SCAN / name for name in ADAPTER)]
    sources.append(FUSED / "pair_cuda_plan.cpp")
    assert ": 0 failures" in run(build(tmp_path / "adapter", sources, *SANITIZERS, *WARNINGS))


@pytest.mark.parametrize("element", ["FLOAT", "FLOAT16", "BFLOAT16"])
def test_library_registers_only_for_the_cuda_provider(element: str) -> None:
    """With a real ONNX Runtime: the types are accepted, and there is no kernel for the CPU."""
    ort = pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    from vim_deploy.errors import OperatorLibraryMissingError
    from vim_deploy.ops.library import ort_cuda_library
    from vim_deploy.ops.signature import CONTRACT_VERSION, INPUT_NAMES, INPUTS, OP_DOMAIN, OP_NAME

    try:
        library = ort_cuda_library()
    except OperatorLibraryMissingError as error:
        pytest.skip(f"only built if nvcc is installed: {error}")
    helper, kinds = onnx.helper, onnx.TensorProto
    kind = getattr(kinds, element)
    inputs = [
        helper.make_tensor_value_info(spec.name, kinds.FLOAT if spec.float32 else kind, None)
        for spec in INPUTS
    ]
    scan = helper.make_node(
        OP_NAME, INPUT_NAMES, ["y"], domain=OP_DOMAIN, delta_softplus=1, reverse=0, groups=1
    )
    graph = helper.make_graph([scan], "scan", inputs, [helper.make_tensor_value_info("y", kind, None)])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(OP_DOMAIN, CONTRACT_VERSION)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.register_custom_ops_library(str(library))
    with pytest.raises(Exception, match=r"(implementation|kernel) for .*SelectiveScan"):
        ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
