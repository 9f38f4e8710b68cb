"""What the inputs of matmuls look like on images: samples of rows, and the largest value of each channel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from vim_deploy.engines.onnxruntime.session import make_session
from vim_deploy.ops import ort_library

_ROWS = 512  # of one matmul, from all images together
_SEED = 0


@dataclass
class Samples:
    """`largest` (channels): absolute values over all rows of all images. `rows` (at most _ROWS, channels)."""

    largest: np.ndarray
    rows: np.ndarray


def sample(
    graph: onnx.ModelProto, values: Sequence[str], batches: Iterable[Mapping[str, np.ndarray]], count: int
) -> dict[str, Samples]:
    """Run the graph on `count` batches of inputs, and describe these values, (..., channels).

    The same number of rows of each batch is chosen at random, from a fixed seed.
    """
    session = make_session(_with_outputs(graph, values), library=ort_library())
    generator = np.random.default_rng(_SEED)
    per_batch = -(-_ROWS // count)
    found: dict[str, Samples] = {}
    for batch in batches:
        arrays = session.run(list(values), dict(batch))
        for name, array in zip(values, arrays, strict=True):
            _add(found, name, array.reshape(-1, array.shape[-1]), generator, per_batch)
    return found


def _add(
    found: dict[str, Samples], name: str, rows: np.ndarray, generator: np.random.Generator, count: int
) -> None:
    largest = np.abs(rows).max(axis=0)
    chosen = rows[generator.choice(len(rows), min(count, len(rows)), replace=False)]
    if name in found:
        largest = np.maximum(largest, found[name].largest)
        chosen = np.concatenate([found[name].rows, chosen])
    found[name] = Samples(largest, chosen)


def _with_outputs(graph: onnx.ModelProto, values: Sequence[str]) -> bytes:
    """The graph with these values as its outputs."""
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    del copy.graph.output[:]
    copy.graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in values
    )
    data: Any = copy.SerializeToString()
    return bytes(data)
