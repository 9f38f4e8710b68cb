"""Openers (see vim_deploy/bench/worker.py) of the runtimes that are compared."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from vim_deploy.bench.worker import Open, Run
    from vim_deploy.ops.scan import Implementation

_ERRORS_ONLY = 3


def pytorch_vim(config: dict[str, Any], head: str, threads: int, scan: Implementation) -> Open:
    """Eager PyTorch; `scan` is the implementation of the scans, "kernel" or "reference"."""
    from benchmarks.heads import vim_config, vim_task
    from vim_deploy.model import VimConfig
    from vim_deploy.ops import use_scan

    def open_model() -> Run:
        run = _pytorch(vim_task(vim_config(VimConfig.from_dict(config), head), head), threads)

        def run_with_scan(pixels: Any) -> Any:
            with use_scan(scan):
                return run(pixels)

        return run_with_scan

    return open_model


def pytorch_deit(config: dict[str, int], head: str, threads: int) -> Open:
    """Eager PyTorch, with its fused attention."""
    from benchmarks.heads import deit_model
    from benchmarks.networks import deit_config

    return lambda: _pytorch(deit_model(deit_config(config), head), threads)


def _pytorch(model: nn.Module, threads: int) -> Run:
    import torch

    torch.set_num_threads(threads)

    def run(pixels: Any) -> Any:
        with torch.inference_mode():
            return model(torch.from_numpy(pixels)).numpy()

    return run


def onnxruntime_session(path: str, threads: int, library: bool) -> Open:
    """The file in a plain session with all optimizations, with or without the operator library."""
    import onnxruntime

    from vim_deploy.ops.library import ort_library

    def open_session() -> Run:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = threads
        if library:
            options.register_custom_ops_library(str(ort_library()))
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return lambda pixels: session.run(None, {"pixels": pixels})[0]

    return open_session


def openvino_model(path: str, threads: int, precision: str) -> Open:
    """OpenVINO on the CPU; `precision` of everything that the file does not quantize: "f32" or "bf16"."""
    import openvino

    core = openvino.Core()

    def open_model() -> Run:
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY",
        }
        request = core.compile_model(path, "CPU", settings).create_infer_request()
        # A copy, since the next inference overwrites the request's output.
        return lambda pixels: request.infer({0: pixels})[0].copy()

    return open_model


def openvino_skip_reason(precision: str) -> str | None:
    """Why OpenVINO cannot be used here in a precision, "fp32", "bf16" or "int8", or None."""
    try:
        import openvino
    except ImportError as error:
        return f"OpenVINO does not load ({error}); pip install openvino"
    can = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision != "fp32" and precision.upper() not in can:
        return f"OpenVINO has no {precision} on this CPU (it has {', '.join(can)})"
    # Not imported: that takes seconds, and sends telemetry.
    if precision == "int8" and importlib.util.find_spec("nncf") is None:
        return "NNCF, which quantizes, is not installed; pip install nncf"
    return None
