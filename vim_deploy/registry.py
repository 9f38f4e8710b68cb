"""Named extension points: tasks, backends and model families are looked up here and imported on first use."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar, cast

from vim_deploy.errors import VimDeployError

T = TypeVar("T")


def load_object(target: str) -> Any:
    """The object that "module:name" points to."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def lazy_attributes(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package whose attributes are in `modules`, which are imported on first use."""

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return load_object(f"{package}.{modules[name]}:{name}")

    return get


class Registry(Generic[T]):
    """Entries by name. An entry is an object, or the "module:name" of one, which is imported when it is used.

    `kind` is what an entry is called in errors; `error` is raised for unknown names.
    """

    def __init__(self, kind: str, error: type[VimDeployError], entries: dict[str, str]) -> None:
        self._kind, self._error = kind, error
        self._entries: dict[str, T | str] = dict(entries)

    def names(self) -> tuple[str, ...]:
        """All names, in order of registration."""
        return tuple(self._entries)

    def get(self, name: str) -> T:
        """The entry called `name`. Raises the registry's error for an unknown name."""
        if name not in self._entries:
            raise self._error(
                f"unknown {self._kind} {name!r:.100}; expected one of {', '.join(self._entries)}."
            )
        entry = self._entries[name]
        if isinstance(entry, str):
            entry = self._entries[name] = cast("T", load_object(entry))
        return entry

    def register(self, name: str, entry: T | str) -> None:
        """Add an entry. Raises ValueError for a name that is taken."""
        if name in self._entries:
            raise ValueError(f"a {self._kind} named {name!r} is already registered.")
        self._entries[name] = entry

    def unregister(self, name: str) -> None:
        """Remove an entry, for tests."""
        del self._entries[name]
