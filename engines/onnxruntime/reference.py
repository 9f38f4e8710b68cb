"""What a built engine is compared with: its file in ONNX Runtime on the processor."""

from __future__ import annotations

import contextlib

import numpy as np

from vim_deploy.engines.onnxruntime.session import compared_at
from vim_deploy.engines.source import SourceModel
from vim_deploy.errors import MissingDependencyError, OperatorLibraryError
from vim_deploy.onnx_graph.upcast import widened
from vim_deploy.ops.library import ort_library


def reference_outputs(source: SourceModel, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs by name, in float32 arithmetic whatever the file's precision.

    With the operator library where there is one, else by the function body. Raises MissingDependencyError
    where ONNX Runtime is not installed.
    """
    import onnx

    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            f'onnxruntime does not load ({error}); install it with `pip install "vim-deploy[cpu]"`.'
        ) from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    with contextlib.suppress(OperatorLibraryError):  # the function body gives the same result, slowly
        options.register_custom_ops_library(str(ort_library()))
    wide = widened(onnx.load_model_from_string(source.data)).SerializeToString()
    session = onnxruntime.InferenceSession(wide, options, providers=["CPUExecutionProvider"])
    names = [spec.name for spec in source.outputs]
    return dict(
        zip(names, session.run(names, {source.input.name: pixels, **compared_at(session)}), strict=True)
    )
