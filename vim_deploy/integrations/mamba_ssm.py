"""Public code that imports mamba_ssm and causal_conv1d, on machines with and without these packages.

`install()` provides the modules where they are missing. `exportable()` replaces the functions of the real
packages, which cannot be exported, for the time of an export.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from vim_deploy.errors import ExportError
from vim_deploy.integrations import mamba_functions

_NORMS = ("RMSNorm", "layer_norm_fn", "rms_norm_fn")
# Modules by name, with the functions that they have. Newer and older versions have different names.
_PROVIDED = {
    "mamba_ssm.ops.selective_scan_interface": (
        "selective_scan_fn",
        "selective_scan_ref",
        "mamba_inner_fn",
        "mamba_inner_fn_no_out_proj",
        "bimamba_inner_fn",
    ),
    "mamba_ssm.ops.triton.layer_norm": _NORMS,
    "mamba_ssm.ops.triton.layernorm": _NORMS,
    "causal_conv1d": ("causal_conv1d_fn", "causal_conv1d_update"),
}
_REPLACED = {  # what `exportable` replaces; RMSNorm calls rms_norm_fn
    name: tuple(item for item in items if item not in ("RMSNorm", "causal_conv1d_update"))
    for name, items in _PROVIDED.items()
}


@dataclass(frozen=True)
class Installation:
    """`modules`: the names that `install` added to sys.modules. A context manager that removes them."""

    modules: tuple[str, ...]

    def undo(self) -> None:
        """Remove the modules again. Code that has already imported their functions keeps them."""
        for name in self.modules:
            module = sys.modules.get(name)
            if module is not None and _is_ours(module):
                del sys.modules[name]
                parent, _, child = name.rpartition(".")
                if parent in sys.modules and vars(sys.modules[parent]).get(child) is module:
                    delattr(sys.modules[parent], child)

    def __enter__(self) -> Installation:
        return self

    def __exit__(self, *exception: object) -> None:
        self.undo()


def install() -> Installation:
    """Provide the modules of mamba_ssm and causal_conv1d that public networks import.

    Call it before the network's code is imported. If a checkout of mamba_ssm is on the path, but without its
    compiled extensions, only the modules that need them are provided. Raises ExportError if the real packages
    work here: `exportable` is for them.
    """
    if _works("mamba_ssm.ops.selective_scan_interface"):
        raise ExportError(
            "mamba_ssm can be imported here; use vim_deploy.integrations.mamba_ssm.exportable() during the "
            "export instead of install()."
        )
    added: list[str] = []
    for name, items in _PROVIDED.items():
        for parent in _parents(name):
            if parent not in sys.modules and not _found(parent):
                added.append(parent)
                _add(parent, ())
        if name not in sys.modules:
            added.append(name)
            _add(name, items)
    return Installation(tuple(added))


@contextmanager
def exportable(*networks: Any) -> Iterator[tuple[str, ...]]:
    """Replace the functions of the real mamba_ssm and causal_conv1d inside the `with` block.

    They are replaced wherever they were imported to: in the globals of all modules, and in the attributes of
    the modules of `networks`. Yields the names of the replaced attributes; all are restored at the end.
    Packages that were not imported are left alone.
    """
    originals = {}
    for name, items in _REPLACED.items():
        module = sys.modules.get(name)
        if module is None or _is_ours(module):
            continue
        for item in items:
            if item in vars(module):
                originals[id(vars(module)[item])] = getattr(mamba_functions, item)
    undo: list[tuple[dict[str, Any], str, Any]] = []
    replaced = []
    try:
        for owner, namespace in _namespaces(networks):
            for key, value in list(namespace.items()):
                if id(value) in originals:
                    undo.append((namespace, key, value))
                    namespace[key] = originals[id(value)]
                    replaced.append(f"{owner}.{key}")
        yield tuple(replaced)
    finally:
        for namespace, key, value in reversed(undo):
            namespace[key] = value


def _namespaces(networks: Iterable[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, module in list(sys.modules.items()):
        if isinstance(module, ModuleType) and module is not mamba_functions:
            yield name, vars(module)
    for network in networks:
        for path, part in network.named_modules():
            yield path or type(network).__name__, vars(part)


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _works(name: str) -> bool:
    """Whether the real module can be imported."""
    before = set(sys.modules)
    try:
        return not _is_ours(importlib.import_module(name))
    except Exception:  # a package without its compiled extensions fails in many ways
        for module in [
            key for key in sys.modules if key not in before and key.split(".")[0] == name.split(".")[0]
        ]:
            del sys.modules[module]
        return False


def _found(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _is_ours(module: ModuleType) -> bool:
    return getattr(module, "__vim_deploy__", False) is True


def _add(name: str, items: tuple[str, ...]) -> None:
    module = ModuleType(name, f"Provided by {__name__}.")
    # Public code tests for a package with importlib.util.find_spec, which needs a spec.
    module.__spec__ = ModuleSpec(name, None, is_package=True)
    module.__path__ = []
    module.__version__ = "0"  # type: ignore[attr-defined]
    module.__vim_deploy__ = True  # type: ignore[attr-defined]
    for item in items:
        setattr(module, item, getattr(mamba_functions, item))
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent and parent in sys.modules:
        setattr(sys.modules[parent], child, module)
