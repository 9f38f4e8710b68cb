"""The execution providers of a device, and whether they really start: being listed proves nothing."""

from __future__ import annotations

import contextlib
import io
import logging
from pathlib import Path
from typing import Any

import numpy as np

from vim_deploy.engines.onnxruntime.session import CPU, CUDA, Provider, make_session, runtime
from vim_deploy.errors import EngineError

_log = logging.getLogger("vim_deploy")

_OPSET, _IR_VERSION = 17, 8


def providers_of(device: str, *, tf32: bool = False) -> list[Provider]:
    """The providers for a device. `tf32`: whether CUDA may round matmul inputs from float32 to TF32."""
    if device == "cpu":
        return [CPU]
    # TF32 is on unless switched off. Shape arithmetic stays on the CPU; placement.py refuses the rest there.
    return [(CUDA, {"use_tf32": str(int(tf32))}), CPU]


def check_device(device: str) -> None:
    """Raises EngineError if the provider of a device is missing or does not start."""
    if device == "cpu":
        return
    onnxruntime = runtime()
    if CUDA not in (present := onnxruntime.get_available_providers()):
        raise EngineError(
            f"device {device!r} needs {CUDA}; this ONNX Runtime has {', '.join(present)}. Use --device cpu, "
            'remove onnxruntime and `pip install "vim-deploy[gpu]"`.'
        )
    if reason := probe_provider(CUDA):
        raise EngineError(
            f"device {device!r} needs {CUDA}: {reason} There is no fallback to the CPU. Install the CUDA and "
            f"cuDNN libraries that ONNX Runtime {onnxruntime.__version__} was built for (its error log above "
            'names the missing one), for example `pip install "onnxruntime-gpu[cuda,cudnn]"`, check '
            "nvidia-smi, or use --device cpu."
        )


def probe_provider(provider: str, library: Path | None = None) -> str:
    """Why a small graph does not run on a provider, with an operator library; empty if it does."""
    if provider == CUDA:
        _load_packaged_libraries(runtime())
    providers = [provider] if provider == CPU else [provider, CPU]
    try:
        session = make_session(_doubling(), providers=providers, library=library, threads=1, quiet=True)
        (found,) = session.run(None, {"x": np.array([21], np.float32)})
    except Exception as error:  # the runtime's exceptions have no common base class
        return " ".join(str(error).split())[:300]
    return "" if found.tolist() == [42] else f"21 + 21 gave {found.tolist()}."


def _load_packaged_libraries(onnxruntime: Any) -> None:
    """Load CUDA and cuDNN from Python packages, where ONNX Runtime does not search by itself."""
    if not hasattr(onnxruntime, "preload_dlls"):  # before 1.21
        return
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):  # stdout is for results
        onnxruntime.preload_dlls()
    _log.debug("onnxruntime.preload_dlls: %s", printed.getvalue().strip() or "no output")


def small_model(graph: Any, *opsets: Any) -> bytes:
    """The bytes of a model with one graph; `opsets` are imported besides ONNX's own."""
    from onnx import helper

    imports = [helper.make_opsetid("", _OPSET), *opsets]
    model = helper.make_model(graph, opset_imports=imports, ir_version=_IR_VERSION)
    return bytes(model.SerializeToString())


def _doubling() -> bytes:
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    return small_model(helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "doubling", [x], [y]))
