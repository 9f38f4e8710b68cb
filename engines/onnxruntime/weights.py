"""Sessions that use the weights of a payload where they are in memory, without copying them."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from vim_deploy.engines.payload import Payload, StoredTensor

# External data must refer to a file that exists. The runtime does not read it, because the values are given.
# If a version did read it, it would fail, because the file with the name of the weights here is empty.
_FOLDER = Path(__file__).parent
_FOLDER_OPTION = "session.model_external_initializers_file_folder_path"


def add_weights(onnxruntime: ModuleType, options: Any, payload: Payload) -> list[Any]:
    """Add the values of a payload's tensors to the options of its session, and return them.

    They must exist as long as the session. Kernels that pack weights copy them; the others read them from the
    payload's memory.
    """
    values = []
    for name, tensor in payload.tensors.items():
        array = _array(payload, tensor)
        value = onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array, tensor.element.number)
        options.add_initializer(name, value)
        values.append(value)
    if values:
        options.add_session_config_entry(_FOLDER_OPTION, str(_FOLDER))
    return values


def _array(payload: Payload, tensor: StoredTensor) -> np.ndarray:
    """A view of a tensor's values, as unsigned integers."""
    kind = np.dtype(f"<u{tensor.element.bytes}")
    count = tensor.bytes // kind.itemsize
    return np.frombuffer(payload.weights, kind, count, tensor.offset).reshape(tensor.shape)
