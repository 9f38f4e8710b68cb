"""The facts about this backend, see `vim_deploy.engines.spec`."""

from __future__ import annotations

from vim_deploy.engines.fusion.domain import FUSED_DOMAIN
from vim_deploy.engines.onnxruntime.options import OnnxruntimeOptions
from vim_deploy.engines.spec import BackendSpec

SPEC = BackendSpec(
    title="ONNX Runtime",
    options=OnnxruntimeOptions,
    module="vim_deploy.engines.onnxruntime.backend",
    named_arrays=True,
    # Those of vim-build's fusion, and of ONNX Runtime's optimizer.
    payload_domains=(FUSED_DOMAIN, "com.microsoft", "com.microsoft.nchwc"),
    checks="vim_deploy.engines.onnxruntime.checks:CHECKS",
)
