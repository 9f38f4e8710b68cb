"""The backends by name. A new backend is a folder beside this file and a line here; see docs/extending.md."""

from __future__ import annotations

from vim_deploy.engines.spec import BackendSpec
from vim_deploy.errors import EngineError
from vim_deploy.registry import Registry

BACKENDS: Registry[BackendSpec] = Registry(
    "backend",
    EngineError,
    {
        "onnxruntime": "vim_deploy.engines.onnxruntime.spec:SPEC",
        "tensorrt": "vim_deploy.engines.tensorrt.spec:SPEC",
    },
)
DEFAULT_BACKEND = "onnxruntime"


def all_devices() -> tuple[str, ...]:
    """The devices of all backends."""
    return tuple(dict.fromkeys(device for name in BACKENDS.names() for device in BACKENDS.get(name).devices))
