"""Tensors of the server's Python backend as numpy arrays.

The module `triton_python_backend_utils` exists only in the processes that the server starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import triton_python_backend_utils as triton

from vim_deploy.errors import EngineError, VimDeployError


def check_numpy() -> None:
    """Raises EngineError for a server whose Python backend does not understand the installed numpy.

    One that was compiled for numpy 1 reads other values from the arrays of numpy 2, without an error.
    """
    given = np.arange(1, 7, dtype=np.float32).reshape(2, 3)
    try:
        found = triton.Tensor("given", given).as_numpy()
        correct = np.array_equal(found, given)
    except Exception:  # pybind11 raises many types of errors for unknown layouts
        correct = False
    if not correct:
        raise EngineError(
            f"the server's Python backend does not work with numpy {np.__version__}: a tensor has other "
            'values than its array. Install another version, for example `pip install "numpy<2"`.'
        )


def array_of(request: Any, name: str) -> np.ndarray:
    """An input of a request."""
    array: np.ndarray = triton.get_input_tensor_by_name(request, name).as_numpy()
    return array


def response(outputs: dict[str, np.ndarray]) -> Any:
    """The response with these outputs."""
    tensors = [triton.Tensor(name, np.ascontiguousarray(values)) for name, values in outputs.items()]
    return triton.InferenceResponse(tensors)


def failure(problem: VimDeployError | str, *, internal: bool = False) -> Any:
    """The response for a request that failed. `internal`: for a reason that is not in the request."""
    code = triton.TritonError.INTERNAL if internal else triton.TritonError.INVALID_ARG
    return triton.InferenceResponse(error=triton.TritonError(str(problem), code))


def ask(model: str, inputs: dict[str, np.ndarray], outputs: Sequence[str]) -> dict[str, np.ndarray]:
    """The outputs of another model of the server. Raises EngineError."""
    request = triton.InferenceRequest(
        model_name=model,
        requested_output_names=list(outputs),
        inputs=[triton.Tensor(name, np.ascontiguousarray(values)) for name, values in inputs.items()],
        preferred_memory=triton.PreferredMemory(triton.TRITONSERVER_MEMORY_CPU, 0),
    )
    answer = request.exec()
    if answer.has_error():
        raise EngineError(f"the model {model} failed: {answer.error().message()}")
    # The arrays are views of memory that the response owns.
    return {name: triton.get_output_tensor_by_name(answer, name).as_numpy().copy() for name in outputs}
