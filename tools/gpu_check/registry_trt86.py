"""Tests the plugin with TensorRT 8.6 without a GPU: list, create, serialize, deserialize, reject.

    python3.10 tools/gpu_check/registry_trt86.py build/lib/libvim_deploy_trt8.so

Needs Python 3.10 with TensorRT 8.6 and NumPy. Builder and Runtime are not used: without a device, the first
cannot be created and the second crashes the process. Prints the failed checks and then exits with 1.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import tensorrt as trt

INT32, FLOAT32 = trt.PluginFieldType.INT32, trt.PluginFieldType.FLOAT32
TYPES = {INT32: np.int32, FLOAT32: np.float32}
OTHERS = [("groups", 1, INT32), ("gated", 1, INT32)]
BAD_FIELDS = {
    "no fields": [],
    "reverse missing": [("delta_softplus", 1, INT32), *OTHERS],
    "delta_softplus missing": [("reverse", 1, INT32), *OTHERS],
    "reverse is 2": [("delta_softplus", 1, INT32), ("reverse", 2, INT32), *OTHERS],
    "delta_softplus is a float": [("delta_softplus", 1, FLOAT32), ("reverse", 0, INT32), *OTHERS],
    "unknown field": [("delta_softplus", 1, INT32), ("reverse", 0, INT32), ("axis", 0, INT32), *OTHERS],
    "duplicate field": [("delta_softplus", 1, INT32), ("reverse", 0, INT32), ("reverse", 0, INT32), *OTHERS],
    "no groups": [("delta_softplus", 1, INT32), ("reverse", 0, INT32), ("groups", 0, INT32), OTHERS[1]],
}


def create(creator: Any, fields: list[tuple[str, int, Any]]) -> Any:
    """A plugin with the fields, or None. Keeps the values alive during the call; the bindings do not."""
    values = [np.array([value], dtype=TYPES[kind]) for _, value, kind in fields]
    made = [trt.PluginField(name, value, kind) for (name, _, kind), value in zip(fields, values, strict=True)]
    return creator.create_plugin("scan", trt.PluginFieldCollection(made))


def failures(library: str) -> list[str]:
    """The failed checks."""
    registry = trt.get_plugin_registry()
    if registry.load_library(library) is None:
        return [f"{library} could not be loaded as a plugin library"]
    creator = registry.get_plugin_creator("SelectiveScan", "2", "vim_deploy")
    if creator is None:
        return ["the creator is not listed as SelectiveScan, version 2, namespace vim_deploy"]
    wrong = [
        f"accepted: {what}" for what, fields in BAD_FIELDS.items() if create(creator, fields) is not None
    ]
    for softplus in (0, 1):
        for reverse in (0, 1):
            flags = [("delta_softplus", softplus, INT32), ("reverse", reverse, INT32)]
            plugin = create(creator, [*flags, *OTHERS])
            written = bytes(plugin.serialize())
            copies = [creator.deserialize_plugin("scan", written), plugin.clone()]
            if any(bytes(copy.serialize()) != written for copy in copies):
                wrong.append(f"softplus {softplus}, reverse {reverse}: a copy differs")
            if np.frombuffer(written[8:], np.int32).tolist() != [softplus, reverse, 1, 1]:
                wrong.append(f"softplus {softplus}, reverse {reverse}: written as {written!r}")
            if creator.deserialize_plugin("scan", written[:-1]) is not None:
                wrong.append("accepted: a truncated plugin")
    return wrong


def main() -> int:
    wrong = failures(sys.argv[1])
    print(
        "\n".join(wrong)
        or f"TensorRT {trt.__version__}: registration, creation, serialization and rejection work"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
