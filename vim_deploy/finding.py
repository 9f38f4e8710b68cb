"""Checks of the installation, for vim-doctor."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """`status`: ok, missing, broken, or absent: not there, but only needed for some features. `required`:
    whether vim-infer needs it on every CPU."""

    name: str
    status: str
    detail: str
    advice: str = ""
    required: bool = False


def not_found(name: str, detail: str, advice: str, required: bool = False) -> Finding:
    """The finding for a component that is not there."""
    return Finding(name, "missing" if required else "absent", detail, advice, required)


@dataclass(frozen=True)
class Check:
    """`advice` is given if the check itself crashes or times out; `required` as in Finding."""

    run: Callable[[], list[Finding]]
    advice: str
    required: bool = False


def package_finding(name: str, module: str, advice: str, required: bool = False) -> Finding:
    """Whether a package can be imported, with its version."""
    try:
        found = importlib.import_module(module)
        # The module's own version comes first: a copied package has no metadata.
        version = getattr(found, "__version__", None) or importlib.metadata.version(name)
        return Finding(name, "ok", str(version), required=required)
    except ModuleNotFoundError as error:
        if error.name == module:
            return not_found(name, "not installed", advice, required)
        return Finding(name, "broken", str(error), advice, required)
    except (ImportError, OSError) as error:
        return Finding(name, "broken", " ".join(str(error).split())[:300], advice, required)
