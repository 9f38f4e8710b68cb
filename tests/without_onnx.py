"""What tests run in child processes that must not import `onnx` themselves."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from vim_deploy.errors import EngineError


def open_engine(path: str) -> None:
    """Run an engine on zeros; print its logits or the error, and whether `onnx` was imported."""
    from vim_deploy import load

    try:
        with load(path) as opened:
            found: Any = opened.run(np.zeros((1, 3, 8, 8), np.float32))["logits"].tolist()
    except EngineError as error:
        found = str(error)
    print(json.dumps({"found": found, "onnx": "onnx" in sys.modules}))


def check_file(path: str) -> None:
    """Make the checks of payloads for an ONNX file, and print the modules that they imported."""
    from vim_deploy.engines import graph_check, stored_tensors

    data = Path(path).read_bytes()
    model = graph_check.parse_model(path, data)
    stored_tensors.check_stored(path, model, {}, 0)
    graph_check.check_graph(path, model, len(data))
    graph_check.check_sizes(path, model, {})
    print(json.dumps(sorted(name for name in sys.modules if name.startswith("vim_deploy"))))
