"""Recorded networks: running the recorder, and reading what it writes."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tensorrt_parsers.installation import Recorder

# Types that numpy does not have, with integers of the same width.
INTEGERS = {"bfloat16": "int16", "float8_e4m3fn": "uint8"}


class UnsupportedLayerError(Exception):
    """A form of a layer that this tool does not compute, since no exported file has it."""


@dataclass(frozen=True)
class Tensor:
    """`dims`: sizes, -1 for open ones; `type`: the name of a type of numpy or ml_dtypes."""

    id: int
    name: str
    dims: tuple[int, ...]
    type: str


@dataclass(frozen=True)
class Layer:
    """A layer of the network. `settings`: what the parser set, by the names of TensorRT's setters.

    `plugin`: the plugin's name, namespace and version, its fields (10 and later) or serialized data in
    hexadecimal (8.6), the types that it accepts, and its workspace; None for other layers.
    """

    kind: str
    name: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    settings: dict[str, Any]
    plugin: dict[str, Any] | None


@dataclass(frozen=True)
class Recording:
    """What a parser made of a file.

    `mismatches`: shapes and types that do not fit each other. `not_implemented`: functions of the network
    that the parser called and the recorder does not have. `refit`: see recorder/refit.h.
    """

    parsed: bool
    errors: tuple[str, ...]
    messages: tuple[str, ...]
    mismatches: tuple[str, ...]
    not_implemented: tuple[str, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    layers: tuple[Layer, ...]
    refit: dict[str, Any] | None
    weight_bytes: bytes

    @property
    def plugins(self) -> list[Layer]:
        return [layer for layer in self.layers if layer.plugin is not None]

    def problems(self) -> list[str]:
        """Why the network is not one that TensorRT could build; empty if nothing is known."""
        refused = [] if self.parsed else [f"refused by the parser: {'; '.join(self.errors)}"]
        missing = [f"the recorder does not implement {name}" for name in self.not_implemented]
        return [*refused, *missing, *self.mismatches]

    def weights(self, setting: dict[str, Any]) -> np.ndarray:
        """The values of weights; those of types that numpy does not have as integers."""
        kind = INTEGERS.get(setting["type"], setting["type"])
        return np.frombuffer(self.weight_bytes, kind, setting["count"], setting["offset"])


def record(recorder: Recorder, model: bytes, plugins: tuple[Path, ...], folder: Path) -> Recording:
    """Parses an ONNX file, with files in `folder`. Raises RuntimeError if the recorder fails."""
    path, description, weights = (folder / f"network.{suffix}" for suffix in ("onnx", "json", "weights"))
    path.write_bytes(model)
    command = recorder.command(path, description, weights, plugins)
    done = subprocess.run(command, capture_output=True, text=True, env=recorder.environment())
    if done.returncode not in (0, 1):
        raise RuntimeError(f"the recorder failed with status {done.returncode}: {done.stderr}")
    return read_recording(json.loads(description.read_text()), weights.read_bytes())


def read_recording(description: dict[str, Any], weights: bytes) -> Recording:
    """A recording from the recorder's JSON and weights."""
    strings = ("errors", "messages", "mismatches", "not_implemented")
    return Recording(
        parsed=description["parsed"],
        **{name: tuple(description[name]) for name in strings},
        inputs=tuple(_tensor(entry) for entry in description["inputs"]),
        outputs=tuple(_tensor(entry) for entry in description["outputs"]),
        layers=tuple(_layer(entry) for entry in description["layers"]),
        refit=description.get("refit"),
        weight_bytes=weights,
    )


def _tensor(entry: dict[str, Any]) -> Tensor:
    return Tensor(entry["id"], entry["name"], tuple(entry["dims"]), entry["type"])


def _layer(entry: dict[str, Any]) -> Layer:
    inputs = tuple(None if tensor is None else _tensor(tensor) for tensor in entry["inputs"])
    outputs = tuple(_tensor(tensor) for tensor in entry["outputs"])
    return Layer(entry["kind"], entry["name"], inputs, outputs, entry["settings"], entry.get("plugin"))
