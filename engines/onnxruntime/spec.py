"""The facts about this backend, see `vim_deploy.engines.spec`."""

from __future__ import annotations

from vim_deploy.engines.onnxruntime.options import OnnxruntimeOptions
from vim_deploy.engines.spec import BackendSpec

SPEC = BackendSpec(
    title="ONNX Runtime",
    options=OnnxruntimeOptions,
    module="vim_deploy.engines.onnxruntime.backend",
)
