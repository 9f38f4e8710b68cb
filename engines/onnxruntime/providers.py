"""Whether an execution provider of ONNX Runtime really starts: being listed says nothing."""

from __future__ import annotations

import contextlib
import io
import logging
from typing import Any

import numpy as np

_log = logging.getLogger("vim_deploy")

CUDA, PROCESSOR = "CUDAExecutionProvider", "CPUExecutionProvider"
_OPSET, _IR_VERSION = 17, 8


def identity_runs(provider: str) -> str:
    """Why doubling a number does not work on a provider; empty when it does."""
    import onnxruntime

    if provider == CUDA:
        _load_packaged_libraries(onnxruntime)
    names = [provider] if provider == PROCESSOR else [provider, PROCESSOR]
    try:
        session = onnxruntime.InferenceSession(
            _doubling(), quiet_options(onnxruntime), providers=names, enable_fallback=False
        )
        if provider not in session.get_providers():
            return f"it does not start, and the runtime went on with {', '.join(session.get_providers())}"
        (found,) = session.run(None, {"x": np.array([21], np.float32)})
    except Exception as error:  # the runtime's own exceptions have no common base
        return " ".join(str(error).split())[:300]
    return "" if found.tolist() == [42] else f"doubling 21 gave {found.tolist()}"


def _load_packaged_libraries(onnxruntime: Any) -> None:
    """CUDA's and cuDNN's libraries from Python packages, where ONNX Runtime looks only when told to."""
    if not hasattr(onnxruntime, "preload_dlls"):  # before 1.21
        return
    said = io.StringIO()
    with contextlib.redirect_stdout(said):  # where results go
        onnxruntime.preload_dlls()
    _log.debug("onnxruntime.preload_dlls: %s", said.getvalue().strip() or "nothing to say")


def quiet_options(onnxruntime: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return options


def small_model(graph: Any, *opsets: Any) -> bytes:
    """A file of one graph; `opsets` are those beside ONNX's own."""
    from onnx import helper

    imports = [helper.make_opsetid("", _OPSET), *opsets]
    model = helper.make_model(graph, opset_imports=imports, ir_version=_IR_VERSION)
    return bytes(model.SerializeToString())


def _doubling() -> bytes:
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    return small_model(helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "doubling", [x], [y]))
