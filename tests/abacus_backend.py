"""A backend from another package: ONNX's reference evaluator. It is the `module` of a `BackendSpec`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import click
import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from vim_deploy.engines.base import Built, RunOptions
from vim_deploy.engines.manifest import Manifest
from vim_deploy.engines.payload import Payload
from vim_deploy.engines.selfcheck import random_pixels
from vim_deploy.engines.source import SourceModel
from vim_deploy.engines.spec import BackendSpec, BuildOptions, device_option
from vim_deploy.engines.tensors import BatchRange
from vim_deploy.finding import Check, Finding
from vim_deploy.options import option


@dataclass(frozen=True)
class AbacusOptions(BuildOptions):
    backend: ClassVar[str] = "abacus"

    device: str = device_option("wood")
    beads: int = option(10, type=click.IntRange(1, 10), help="Beads per wire.")


SPEC = BackendSpec(
    title="Abacus",
    options=AbacusOptions,
    module="abacus_backend",
    payload_domains=(),
    checks="abacus_backend:CHECKS",
)
CHECKS = {"beads": Check(lambda: [Finding("beads", "ok", "all there")], "buy beads")}


class AbacusRunner:
    def __init__(self, payload: bytes, manifest: Manifest) -> None:
        self.input, self.outputs = manifest.input, manifest.outputs
        self.batches = BatchRange.of(manifest.input)
        self._evaluator = ReferenceEvaluator(onnx.load_model_from_string(payload))

    def run(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        names = [spec.name for spec in self.outputs]
        return dict(zip(names, self._evaluator.run(names, {self.input.name: pixels}), strict=True))

    def close(self) -> None:
        pass


def build(source: SourceModel, options: AbacusOptions) -> Built:
    pixels = random_pixels(source.input, source.metadata.preprocessing)
    return Built(
        payload=Payload(source.data),
        payload_name="model.onnx",
        environment={"beads": str(options.beads)},
        operator={"implementation": "none"},
        build_info={"pixels": list(pixels.shape)},
        inputs=source.inputs,
        outputs=source.outputs,
    )


def fingerprint(options: AbacusOptions) -> dict[str, str]:
    return {"beads": str(options.beads)}


def environment(manifest: Manifest) -> dict[str, Any]:
    return {"beads": str(manifest.options.beads)}


def open_payload(payload: Payload, manifest: Manifest, options: RunOptions) -> AbacusRunner:
    return AbacusRunner(payload.data, manifest)
