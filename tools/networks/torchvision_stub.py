"""The names of torchvision that timm 1.0 imports, none of which the tested networks use.

The default package of torchvision needs CUDA's libraries, which a CPU build of PyTorch does not have.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

_MODULES = (
    "torchvision", "torchvision.datasets", "torchvision.datasets.folder", "torchvision.datasets.utils",
    "torchvision.io", "torchvision.models", "torchvision.models.feature_extraction", "torchvision.ops",
    "torchvision.ops.misc", "torchvision.transforms", "torchvision.transforms.functional",
    "torchvision.transforms.transforms", "torchvision.transforms.v2",
)  # fmt: skip


class _Names(type):
    def __getattr__(cls, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return f"{cls.__name__}.{name}"


class _Anything(metaclass=_Names):
    """A base class, and an enumeration with every member."""


class _Stub(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return sys.modules.get(f"{self.__name__}.{name}", _Anything)


def install() -> None:
    """Add the stub to sys.modules, unless torchvision is installed."""
    if find_spec("torchvision") is not None:
        return
    for name in _MODULES:
        module = _Stub(name)
        module.__spec__ = ModuleSpec(name, None, is_package=True)
        module.__path__ = []
        module.__version__ = "0"  # type: ignore[attr-defined]
        sys.modules[name] = module
