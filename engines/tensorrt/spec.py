"""The facts about this backend, see `vim_deploy.engines.spec`."""

from __future__ import annotations

from vim_deploy.engines.spec import BackendSpec
from vim_deploy.engines.tensorrt.options import TensorrtOptions

SPEC = BackendSpec(
    title="TensorRT",
    options=TensorrtOptions,
    module="vim_deploy.engines.tensorrt.backend",
    payload_domains=None,
    fixed_size_only=True,
    checks="vim_deploy.engines.tensorrt.checks:CHECKS",
)
