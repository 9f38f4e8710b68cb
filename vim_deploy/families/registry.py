"""The model families by name. A new family is a module and a line here; see docs/extending.md."""

from __future__ import annotations

from collections.abc import Sequence

from vim_deploy.errors import ConfigError
from vim_deploy.families.family import Family
from vim_deploy.registry import Registry

FAMILIES: Registry[Family] = Registry(
    "model family",
    ConfigError,
    {
        "vim": "vim_deploy.families.vim:FAMILY",
        "upernet_vim": "vim_deploy.families.upernet_vim:FAMILY",
        "cascade_vim": "vim_deploy.families.cascade_vim:FAMILY",
    },
)


def families(kinds: Sequence[str] | None = None) -> list[Family]:
    """All families, or those of these kinds, in order of registration."""
    found = [FAMILIES.get(name) for name in FAMILIES.names()]
    return [family for family in found if kinds is None or family.kind in kinds]


def find_family(name: str, kinds: Sequence[str]) -> Family:
    """The family with this name or named model, of any kind; else the first family of these kinds."""
    found = [family for family in families() if family.knows(name)] or families(kinds)
    if not found:
        raise ConfigError(f"no model family of kind {' or '.join(kinds)}; register one.")
    return found[0]
