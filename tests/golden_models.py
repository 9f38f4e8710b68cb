"""The reference's small classifiers with their weights, and their exported files."""

from __future__ import annotations

from typing import Any

import onnx
import torch
from golden_data import load_json, load_tensors
from numpy.typing import NDArray
from shared_files import exported_once

from vim_deploy.export.onnx import to_onnx
from vim_deploy.model import VimConfig, VisionMamba
from vim_deploy.tasks.classify.export import ClassifyModule

CASES: dict[str, dict[str, Any]] = {case["name"]: case for case in load_json("models")["cases"]}


def golden_model(case: dict[str, Any]) -> tuple[VisionMamba, dict[str, NDArray[Any]]]:
    """The model of a case of models.json, and its reference tensors."""
    tensors = load_tensors(f"model_{case['name']}")
    sources = [load_tensors(f"model_{case['weights_from']}")] if case["weights_from"] else []
    weights = {
        name.removeprefix("weights."): torch.from_numpy(value)
        for source in [*sources, tensors]
        for name, value in source.items()
        if name.startswith("weights.")
    }
    model = VisionMamba(VimConfig.from_reference(case["flags"]))
    model.load_state_dict(weights, strict=True)
    return model.eval(), tensors


def golden_export(name: str) -> onnx.ModelProto:
    """The graph of a case, with a dynamic batch size; exported once per test run."""
    return exported_once(f"golden-{name}", lambda: to_onnx(ClassifyModule(golden_model(CASES[name])[0])))
