"""Sessions that use the weights of a payload where they are in memory, without copying them."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from vim_deploy.engines.payload import Payload
from vim_deploy.engines.stored_tensors import element_bytes

# External initializers must refer to a file that exists. It is not read, because their values are given. If a
# version of the runtime did read it, it would fail, because the file is too short.
_FILE = Path(__file__)
_FOLDER_OPTION = "session.model_external_initializers_file_folder_path"


def with_weights(onnxruntime: ModuleType, options: Any, payload: Payload) -> tuple[bytes, list[Any]]:
    """The graph for a session with these options, and the values of its initializers.

    The values must exist as long as the session. Kernels that pack weights copy them; the others read them
    from the payload's memory.
    """
    if not payload.offsets:
        return payload.data, []
    import onnx

    model = onnx.load_model_from_string(payload.data)
    values = []
    for tensor in model.graph.initializer:
        if tensor.name not in payload.offsets:
            continue
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=_FILE.name)
        array = _array(payload, tensor)
        value = onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array, tensor.data_type)
        options.add_initializer(tensor.name, value)
        values.append(value)
    options.add_session_config_entry(_FOLDER_OPTION, str(_FILE.parent))
    return model.SerializeToString(), values


def _array(payload: Payload, tensor: Any) -> np.ndarray:
    """A view of a tensor's values, as unsigned integers."""
    kind = np.dtype(f"<u{element_bytes()[tensor.data_type]}")
    count = int(np.prod(tensor.dims, dtype=np.int64))
    return np.frombuffer(payload.weights, kind, count, payload.offsets[tensor.name]).reshape(tensor.dims)
