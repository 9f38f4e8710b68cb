"""The comparison of a file with the eager model."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import vim_deploy
from vim_deploy.errors import ExportError
from vim_deploy.export import verify
from vim_deploy.export.verify import compare_quantized, compare_with_eager
from vim_deploy.parity.detections import detections_difference
from vim_deploy.precision import Precision
from vim_deploy.tasks.raw.export import RawModule


class Scaled(nn.Module):
    """Multiplies by half of the length, up to a limit."""

    def __init__(self, limit: int | None = None) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, x):
        length = x.shape[1]
        return x * ((length if self.limit is None else min(length, self.limit)) // 2)


def test_a_size_that_the_file_fixes_is_found_at_other_sizes(tmp_path):
    """A file for another network, which is equal at the lengths of the example and one more."""
    examples, axes, path = {"x": torch.ones(1, 6)}, {"x": {1: "length"}}, tmp_path / "x.onnx"
    vim_deploy.export_module(Scaled(), examples, path, dynamic_axes=axes)
    inputs = {"x": np.ones((1, 7), np.float32)}
    same = RawModule(Scaled(), examples=examples, axes=axes)
    assert compare_with_eager(path, same, inputs)["library"]["relative"] == 0
    other = RawModule(Scaled(limit=7), examples=examples, axes=axes)
    with pytest.raises(ExportError, match="disagrees with the eager model"):
        compare_with_eager(path, other, inputs)


def test_detections_that_cannot_be_matched_are_left_to_validation(monkeypatch):
    def found(count: int) -> list[np.ndarray]:
        values = np.ones((count, 1), np.float32)
        return [np.ones((count, 4), np.float32), values[:, 0], np.zeros(count, np.int64), values[..., None]]

    task = SimpleNamespace(difference=lambda a, b: detections_difference(tuple(a), tuple(b)))
    monkeypatch.setattr(verify, "EagerModel", lambda task: SimpleNamespace(run=lambda pixels: found(9)))
    monkeypatch.setattr(verify, "run_file", lambda *arguments, **options: found(3))
    with pytest.raises(ExportError, match=r"the detections of the int8 file .* vim-validate \(--images with"):
        compare_quantized("x.onnx", task, np.zeros(1), Precision.INT8)
