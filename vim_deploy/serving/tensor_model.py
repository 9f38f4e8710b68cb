"""The model of a network in the server's Python backend: tensors in, tensors out, run by an engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from vim_deploy.engines.open import OpenEngine, open_engine
from vim_deploy.errors import EngineError, VimDeployError
from vim_deploy.serving.artifacts import ENGINE_NAME
from vim_deploy.serving.tensors import array_of, check_numpy, failure, response

Outputs = dict[str, np.ndarray]


class TensorModel:
    """The server calls these methods, from one thread."""

    def initialize(self, args: dict[str, str]) -> None:
        """Raises VimDeployError, with which the server reports the model as not loaded."""
        check_numpy()
        folder = Path(args["model_repository"]) / args["model_version"]
        self._engine: OpenEngine = open_engine(folder / ENGINE_NAME)
        self._batched = json.loads(args["model_config"])["max_batch_size"] > 0

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response per request. Requests that arrive together are one batch."""
        given = [
            {spec.name: array_of(request, spec.name) for spec in self._engine.inputs} for request in requests
        ]
        found = self._together(given) if self._batched and len(given) > 1 else list(map(self._run, given))
        return [
            failure(outputs) if isinstance(outputs, VimDeployError) else response(outputs)
            for outputs in found
        ]

    def _together(self, given: list[Outputs]) -> list[Outputs | VimDeployError]:
        joined = {name: np.concatenate([arrays[name] for arrays in given]) for name in given[0]}
        found = self._run(joined)
        if isinstance(found, VimDeployError):
            return list(map(self._run, given))  # so that a request does not fail because of another one
        ends = np.cumsum([len(next(iter(arrays.values()))) for arrays in given])
        parts = {name: np.split(values, ends[:-1]) for name, values in found.items()}
        return [{name: values[number] for name, values in parts.items()} for number in range(len(given))]

    def _run(self, arrays: Outputs) -> Outputs | VimDeployError:
        try:
            return self._engine.run(**arrays)
        except VimDeployError as error:
            return error
        except MemoryError:
            return EngineError("there is not enough memory for this request; send fewer images at once.")

    def finalize(self) -> None:
        self._engine.close()
