"""The reference of a self-check: the file in ONNX Runtime on the CPU."""

from __future__ import annotations

import contextlib

import numpy as np

from vim_deploy.engines.onnxruntime.limited import run_limited
from vim_deploy.engines.onnxruntime.session import runtime
from vim_deploy.engines.selfcheck import Arrays
from vim_deploy.engines.source import SourceModel
from vim_deploy.errors import OperatorLibraryError
from vim_deploy.onnx_graph.upcast import upcast_to_fp32
from vim_deploy.ops.library import ort_library


def reference_outputs(source: SourceModel, pixels: Arrays) -> dict[str, np.ndarray]:
    """The outputs by name, computed in float32 for files of every precision.

    Uses the operator library if there is one, otherwise the function body. Raises MissingDependencyError if
    ONNX Runtime is not installed.
    """
    import onnx

    runtime()
    model = upcast_to_fp32(onnx.load_model_from_string(source.data)).SerializeToString()
    library = None
    with contextlib.suppress(OperatorLibraryError):  # the function body gives the same result, slower
        library = ort_library()
    return run_limited(source, model, pixels, library=library, model_optimization="all").expected
