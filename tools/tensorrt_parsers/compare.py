"""Compares recorded networks with ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from tensorrt_parsers.compute import compute
from tensorrt_parsers.installation import Recorder
from tensorrt_parsers.recording import Recording, record
from vim_deploy.engines.onnxruntime.session import unsuitable_optimizers
from vim_deploy.engines.tensorrt.graph import prepare
from vim_deploy.onnx_graph.upcast import upcast_to_fp32
from vim_deploy.precision import FLOAT_PRECISIONS, Precision


@dataclass(frozen=True)
class Parsed:
    """A file that was prepared as for `vim-build` and parsed. `data`: the exported file."""

    data: bytes
    precision: Precision
    recording: Recording


def parse(
    recorder: Recorder, name: str, data: bytes, plugins: tuple[Path, ...], folder: Path, fuse: bool = False
) -> Parsed:
    """Prepares and parses an exported file. Raises EngineError if `vim-build` would refuse it.

    `fuse`: with the fused operators, as `vim-build` does without --no-fusion.
    """
    precision = precision_of(data)
    prepared = prepare(name, data, precision, recorder.installation.major, fuse=fuse)
    return Parsed(data, precision, record(recorder, prepared.data, plugins, folder))


def precision_of(data: bytes) -> Precision:
    """The precision of an exported file: the reduced type that any of its weights has."""
    model = onnx.load_model_from_string(data)
    kinds = {item.data_type for item in model.graph.initializer}
    quantized = {onnx.TensorProto.INT8: Precision.INT8, onnx.TensorProto.FLOAT8E4M3FN: Precision.FP8}
    for kind, precision in quantized.items():
        if kind in kinds:
            return precision
    reduced = [each for each in FLOAT_PRECISIONS if each != Precision.FP32 and each.onnx_type in kinds]
    return reduced[0] if reduced else Precision.FP32


def differences(parsed: Parsed, batch: int = 2, seed: int = 0) -> dict[str, float]:
    """The largest difference of each output, relative to the output's largest value.

    The network is computed on random pixels and compared with the exported file in ONNX Runtime, without
    our library. Files of reduced precision are upcast to float32 there: it lacks some of their kernels.
    """
    import onnxruntime

    model = onnx.load_model_from_string(parsed.data)
    pixels = model.graph.input[0]  # further inputs have defaults
    shape = [dim.dim_value or batch for dim in pixels.type.tensor_type.shape.dim]
    values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    upcast = upcast_to_fp32(model).SerializeToString()
    session = onnxruntime.InferenceSession(
        upcast,
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=list(unsuitable_optimizers(parsed.precision)),
    )
    names = [output.name for output in session.get_outputs()]
    expected = dict(zip(names, session.run(None, {pixels.name: values}), strict=True))
    found = compute(parsed.recording, {pixels.name: values})
    return {name: _relative(found[name], expected[name]) for name in names}


def _relative(found: np.ndarray, expected: np.ndarray) -> float:
    if found.shape != expected.shape:
        return float("inf")
    largest = float(np.abs(expected).max()) or 1.0
    return float(np.abs(found.astype(np.float64) - expected).max()) / largest
