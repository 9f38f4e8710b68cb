"""Building engines and running them. The payload is the exported graph, the scan is the native kernel."""

from __future__ import annotations

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from toy_backend.spec import ToyOptions
from vim_deploy.engines.base import Built, RunOptions
from vim_deploy.engines.manifest import Manifest
from vim_deploy.engines.onnxruntime.reference import reference_outputs
from vim_deploy.engines.payload import Payload
from vim_deploy.engines.selfcheck import compare, random_pixels
from vim_deploy.engines.source import SourceModel
from vim_deploy.engines.tensors import BatchRange, TensorSpec
from vim_deploy.ops.native import selective_scan
from vim_deploy.ops.signature import OP_DOMAIN, by_name

PAYLOAD_NAME = "model.bin"


class SelectiveScan(OpRun):
    op_domain = OP_DOMAIN

    def _run(self, *inputs: np.ndarray, delta_softplus: int, reverse: int, groups: int) -> tuple[np.ndarray]:
        flags = {"delta_softplus": bool(delta_softplus), "reverse": bool(reverse)}
        return (selective_scan(by_name(inputs), **flags, groups=groups),)


class ToyRunner:
    def __init__(
        self, payload: bytes, input: TensorSpec, outputs: tuple[TensorSpec, ...], decimals: int
    ) -> None:
        self.input, self.outputs, self.batches = input, outputs, BatchRange.of(input)
        model = onnx.load_model_from_string(payload)
        del model.functions[:]
        self._evaluator = ReferenceEvaluator(model, new_ops=[SelectiveScan])
        self._decimals = decimals

    def run(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        names = [spec.name for spec in self.outputs]
        found = self._evaluator.run(names, {self.input.name: pixels})
        return {name: value.round(self._decimals) for name, value in zip(names, found, strict=True)}

    def close(self) -> None: ...


def build(source: SourceModel, options: ToyOptions) -> Built:
    pixels = random_pixels(source.input, source.metadata.preprocessing)
    found = ToyRunner(source.data, source.input, source.outputs, options.decimals).run(pixels)
    expected = reference_outputs(source, pixels)
    precision = source.metadata.precision
    return Built(
        payload=Payload(source.data),
        payload_name=PAYLOAD_NAME,
        environment={"onnx": onnx.__version__},
        operator={"implementation": "library"},
        build_info={},
        inputs=source.inputs,
        outputs=source.outputs,
        self_check=compare(source.record.name, source.metadata.task, precision, expected, found),
    )


def fingerprint(options: ToyOptions) -> dict[str, str]:
    return {"onnx": onnx.__version__, "decimals": str(options.decimals)}


def environment(manifest: Manifest) -> dict[str, str]:
    return {"onnx": onnx.__version__}


def open_payload(payload: Payload, manifest: Manifest, options: RunOptions) -> ToyRunner:
    assert isinstance(manifest.options, ToyOptions)
    return ToyRunner(payload.data, manifest.input, manifest.outputs, manifest.options.decimals)
