"""The model families by name. A new family is a module and a line here; see docs/extending.md."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from vim_deploy.errors import ConfigError
from vim_deploy.families.family import AUTO, Family
from vim_deploy.registry import Registry

FAMILIES: Registry[Family] = Registry(
    "model family",
    ConfigError,
    {
        "vim": "vim_deploy.families.vim:FAMILY",
        "upernet_vim": "vim_deploy.families.upernet_vim:FAMILY",
        "cascade_vim": "vim_deploy.families.cascade_vim:FAMILY",
        "factory": "vim_deploy.families.factory:FAMILY",
    },
)

_CHECKPOINTS = (".pth", ".pt", ".bin", ".ckpt", ".safetensors")


def families(kinds: Sequence[str] | None = None) -> list[Family]:
    """All families, or those of these kinds, in order of registration."""
    found = [FAMILIES.get(name) for name in FAMILIES.names()]
    return [family for family in found if kinds is None or family.kind in kinds]


def find_family(name: str, kinds: Sequence[str]) -> Family:
    """The family with this name or named model, of any kind; else the first family of these kinds."""
    found = [family for family in families() if family.knows(name)]
    if not found and name != AUTO and not name.endswith(".json"):
        raise _unknown(name, kinds)
    found = found or families(kinds)
    if not found:
        raise ConfigError(f"no model family of kind {' or '.join(kinds)}; register one.")
    return found[0]


def _unknown(name: str, kinds: Sequence[str]) -> ConfigError:
    if name.startswith("hf://") or name.lower().endswith(_CHECKPOINTS):
        return ConfigError(
            f"{name} is not the name of a model but of a checkpoint; give {AUTO!r} as the model and the "
            f"checkpoint with --checkpoint {name}."
        )
    similar = get_close_matches(name, [known for family in families() for known in family.names])
    hint = f"did you mean {' or '.join(similar[:1])}? Models" if similar else "models"
    expected = ", ".join(known for family in families(kinds) for known in family.presets)
    return ConfigError(
        f"unknown model {name!r:.200}; {hint} of this task are {expected}. A JSON file with a "
        f"configuration and {AUTO!r} are valid too."
    )
