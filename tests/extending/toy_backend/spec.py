"""The facts about the backend, and its build options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import click

from vim_deploy.engines.spec import BackendSpec, BuildOptions, device_option
from vim_deploy.options import option


@dataclass(frozen=True)
class ToyOptions(BuildOptions):
    backend: ClassVar[str] = "onnx_reference"

    device: str = device_option("cpu")
    decimals: int = option(9, type=click.IntRange(0, 9), help="Decimals of the outputs.")


SPEC = BackendSpec(
    title="ONNX reference", options=ToyOptions, module="toy_backend.backend", payload_domains=()
)
