"""The metadata of an exported ONNX file, read and written without PyTorch or onnx."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vim_deploy.data.preprocess import NoPreprocessing, Preprocessing
from vim_deploy.errors import ConfigError, EngineError
from vim_deploy.output_files import FileKind, head_of
from vim_deploy.precision import FILE_PRECISIONS, Precision
from vim_deploy.tasks.registry import TASKS

PREFIX = "vim_deploy."
# Values of class_names_source. The third is followed by the name of the dataset.
GIVEN, FROM_CHECKPOINT, ASSUMED = "given", "from the checkpoint", "assumed: "
FORMAT = 2
_KINDS = {
    "variant": str, "config": dict, "preprocessing": dict, "class_names": list, "checkpoint": dict,
    "operator": dict, "versions": dict, "parity": dict, "class_names_source": str,
    "quantization": dict,
}  # fmt: skip
_OPTIONAL = ("class_names", "parity", "class_names_source", "quantization")
_ADDED = ("class_names_source", "quantization")  # files of earlier versions do not have them
PRODUCER = "vim_deploy"  # producer name of the ONNX files


def _is_exported(path: Path) -> bool:
    """Whether the first fields of a file are those of an ONNX model: its IR version and our producer name."""
    head = head_of(path, 64)
    return head[:1] == b"\x08" and bytes((0x12, len(PRODUCER))) + PRODUCER.encode() in head


EXPORTED_FILE = FileKind("an ONNX file written by vim-export", _is_exported)


@dataclass(frozen=True)
class ModelMetadata:
    """What a runtime needs besides the graph, and the provenance of the weights.

    `checkpoint` has the keys `source` (file name, hub id or "synthetic"), `sha256`, `key` ("model",
    "model_ema" or null) and `seed` (for synthetic weights). `parity` has the result of the comparison
    with the eager model after the export, or is None if no comparison was made. `class_names_source`:
    GIVEN, FROM_CHECKPOINT, or ASSUMED and a dataset with as many classes; files of earlier versions do not
    have it. `quantization`: of a file in int8 or fp8, see export/quantization, and the number
    of `images` it is based on.
    """

    task: str
    variant: str
    config: dict[str, Any]
    precision: Precision
    preprocessing: Preprocessing  # NoPreprocessing for tasks with named arrays
    class_names: tuple[str, ...] | None
    checkpoint: dict[str, Any]
    operator: dict[str, Any]
    versions: dict[str, str]
    parity: dict[str, Any] | None = None
    class_names_source: str | None = None
    quantization: dict[str, Any] | None = None
    format: int = field(default=FORMAT)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {**dataclasses.asdict(self), "preprocessing": self.preprocessing.to_dict()}

    def to_props(self) -> dict[str, str]:
        """ONNX metadata properties: one JSON value per field, keys prefixed `vim_deploy.`."""
        return {PREFIX + key: json.dumps(value, sort_keys=True) for key, value in self.to_dict().items()}

    @classmethod
    def from_props(cls, props: dict[str, str], source: str) -> ModelMetadata:
        """Read back `to_props`; `source` names the file in errors. Raises EngineError or ConfigError."""
        values: dict[str, Any] = {}
        for spec in dataclasses.fields(cls):
            text = props.get(PREFIX + spec.name)
            if text is None and spec.name in _ADDED:
                continue
            if text is None:
                raise EngineError(
                    f"{source} has no metadata field {PREFIX}{spec.name}; expected a file written by "
                    "vim-export. Export the model again."
                )
            try:
                values[spec.name] = json.loads(text)
            except json.JSONDecodeError as error:
                raise EngineError(
                    f"{source}: metadata field {PREFIX}{spec.name} is not JSON ({error}); "
                    "the file was edited or damaged. Export the model again."
                ) from None
        if type(values["format"]) is not int or values["format"] != FORMAT:
            raise EngineError(
                f"{source} has metadata format {values['format']!r:.100}; this version reads {FORMAT}. "
                "Export the model again, or install the version of vim-deploy that wrote it."
            )
        if values["task"] not in TASKS.names():
            raise EngineError(
                f"{source} is for the task {values['task']!r:.100}; expected one of "
                f"{', '.join(TASKS.names())}."
            )
        if values["precision"] not in FILE_PRECISIONS:
            raise EngineError(
                f"{source} has the precision {values['precision']!r:.100}; expected one of "
                f"{', '.join(FILE_PRECISIONS)}. Export the model again."
            )
        for name, kind in _KINDS.items():
            value = values.get(name)
            if type(value) is not kind and not (name in _OPTIONAL and value is None):
                raise ConfigError(f"{name} is {value!r:.100}; expected {kind.__name__}.")
        values["precision"] = Precision(values["precision"])
        if TASKS.get(values["task"]).arrays:
            values["preprocessing"] = NoPreprocessing()
        else:
            values["preprocessing"] = Preprocessing.from_dict(values["preprocessing"])
        names = values["class_names"]
        if not all(type(name) is str for name in names or ()):
            raise ConfigError(f"class_names are {names!r:.100}; expected a list of strings.")
        values["class_names"] = None if names is None else tuple(names)
        return cls(**values)
