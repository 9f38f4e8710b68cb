"""The facts about a backend that the rest of the package reads instead of asking which backend it is."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

import click

from vim_deploy.errors import EngineError
from vim_deploy.options import check_values, option

MAX_THREADS = 4096  # of one inference


def device_option(*devices: str) -> Any:
    """The field `device` of a backend's options; the first device is the default."""
    return option(devices[0], type=click.Choice(devices), help="Device that the engine runs on.")


def fusion_option() -> Any:
    """The field `fuse` of a backend's options."""
    return option(
        True,
        flag="--fusion/--no-fusion",
        help="Replace groups of nodes with the fused operators of the operator library.",
    )


@dataclass(frozen=True)
class BuildOptions:
    """What every backend's options have. A backend extends this class by its own options.

    Raises EngineError for a value out of range.
    """

    backend: ClassVar[str]  # name in the registry

    device: str

    def __post_init__(self) -> None:
        check_values(self, EngineError)

    def self_contained(self) -> BuildOptions:
        """These options for an engine that can be opened without its ONNX file."""
        return self


@dataclass(frozen=True)
class BackendSpec:
    """One backend. Importing a spec imports no runtime.

    `title` is its name in texts, `module` the module with its functions (see `base.BackendModule`).
    `payload_domains`: the operator domains, besides ONNX's and ours, of payloads that are ONNX files, which
    are checked before they are opened. None: the payloads have another format.
    `fixed_size_only`: whether it can run only tasks whose outputs have a size known before a run.
    `named_arrays`: whether its runners also take inputs by name, for the task raw.
    `checks`: "module:name" of its checks for vim-doctor, a mapping of names to `vim_deploy.finding.Check`.
    """

    title: str
    options: type[BuildOptions]
    module: str
    payload_domains: tuple[str, ...] | None
    fixed_size_only: bool = False
    named_arrays: bool = False
    checks: str | None = None

    @property
    def name(self) -> str:
        return self.options.backend

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices that it builds engines for, the default one first."""
        (device,) = (item for item in fields(self.options) if item.name == "device")
        return tuple(device.metadata["settings"]["type"].choices)

    def default_options(self, device: str | None = None) -> BuildOptions:
        return self.options(device or self.devices[0])
