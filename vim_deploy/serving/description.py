"""What a model for images knows of the network that it asks: network.json in its version folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vim_deploy.engines.class_names import class_names_of
from vim_deploy.engines.manifest import read_metadata
from vim_deploy.engines.tensors import BatchRange, TensorSpec
from vim_deploy.errors import EngineError
from vim_deploy.metadata import ModelMetadata
from vim_deploy.tasks.registry import TASKS

FILE_NAME = "network.json"


@dataclass(frozen=True)
class Description:
    """`model`: the name of the network's model on the server. `metadata`: properties of the ONNX file."""

    model: str
    metadata: dict[str, str]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batches: BatchRange

    def to_json(self) -> bytes:
        values = {
            "model": self.model,
            "metadata": self.metadata,
            "inputs": [spec.to_dict() for spec in self.inputs],
            "outputs": [spec.to_dict() for spec in self.outputs],
            "batches": [self.batches.smallest, self.batches.largest],
        }
        return json.dumps(values, indent=1, sort_keys=True).encode()

    @classmethod
    def read(cls, path: Path) -> Description:
        """Reads `to_json`. Raises EngineError."""
        try:
            values: dict[str, Any] = json.loads(path.read_bytes())
            smallest, largest = values["batches"]
            return cls(
                str(values["model"]),
                {str(key): str(value) for key, value in values["metadata"].items()},
                tuple(map(TensorSpec.from_dict, values["inputs"])),
                tuple(map(TensorSpec.from_dict, values["outputs"])),
                BatchRange(int(smallest), None if largest is None else int(largest)),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise EngineError(f"{path} cannot be read ({error!r}); build the repository again.") from None

    def model_metadata(self) -> ModelMetadata:
        return read_metadata(self.metadata, self.model)

    @property
    def output(self) -> TensorSpec:
        """The primary output."""
        name = TASKS.get(self.model_metadata().task).primary_output
        return next(spec for spec in self.outputs if spec.name == name)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; their indices if the model has no names."""
        return class_names_of(self.model_metadata(), self.outputs)
