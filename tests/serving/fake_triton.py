"""A fake of the module `triton_python_backend_utils`, which exists only in processes of the server."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import pytest

# A model of the server: from inputs by name to outputs by name. A text is the message of an error.
Model = Callable[[dict[str, np.ndarray]], "dict[str, np.ndarray] | str"]


class Tensor:
    def __init__(self, name: str, values: np.ndarray) -> None:
        self._name, self._values = name, values

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> np.ndarray:
        return self._values


class TritonError(Exception):
    INTERNAL, INVALID_ARG = 1, 3

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code

    def message(self) -> str:
        return str(self)


@dataclass
class InferenceResponse:
    output_tensors: list[Tensor] = field(default_factory=list)
    problem: TritonError | None = None

    def has_error(self) -> bool:
        return self.problem is not None

    def error(self) -> TritonError | None:
        return self.problem

    @property
    def outputs(self) -> dict[str, np.ndarray]:
        return {tensor.name(): tensor.as_numpy() for tensor in self.output_tensors}


class Request:
    """A request to the model under test."""

    def __init__(self, **inputs: np.ndarray) -> None:
        self.tensors = {name: Tensor(name, values) for name, values in inputs.items()}


def install(monkeypatch: pytest.MonkeyPatch, models: dict[str, Model] | None = None) -> ModuleType:
    """Make the module importable. `models`: the other models of the server."""

    class InferenceRequest:
        def __init__(
            self,
            model_name: str,
            requested_output_names: list[str],
            inputs: list[Tensor],
            preferred_memory: Any,
        ) -> None:
            self.model, self.names, self.inputs = model_name, requested_output_names, inputs

        def exec(self) -> InferenceResponse:
            found = (models or {})[self.model]({item.name(): item.as_numpy() for item in self.inputs})
            if isinstance(found, str):
                return InferenceResponse(problem=TritonError(found))
            return InferenceResponse([Tensor(name, found[name]) for name in self.names])

    module = ModuleType("triton_python_backend_utils")
    contents = {
        "Tensor": Tensor,
        "TritonError": TritonError,
        "InferenceResponse": lambda output_tensors=(), error=None: InferenceResponse(
            list(output_tensors), error
        ),
        "InferenceRequest": InferenceRequest,
        "PreferredMemory": lambda kind, device: (kind, device),
        "TRITONSERVER_MEMORY_CPU": 0,
        "get_input_tensor_by_name": lambda request, name: request.tensors.get(name),
        "get_output_tensor_by_name": lambda response, name: next(
            item for item in response.output_tensors if item.name() == name
        ),
    }
    for name, value in contents.items():
        setattr(module, name, value)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for name in [name for name in sys.modules if name.startswith("vim_deploy.serving.")]:
        monkeypatch.delitem(sys.modules, name)  # they keep the module that they imported
    return module
