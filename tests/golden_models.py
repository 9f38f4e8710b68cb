"""The reference's small classifiers with their weights."""

from __future__ import annotations

from typing import Any

import torch
from golden_data import load_tensors
from numpy.typing import NDArray

from vim_deploy.model import VimConfig, VisionMamba


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
