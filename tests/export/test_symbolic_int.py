"""Networks whose code passes dynamic sizes through int()."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

import vim_deploy
from vim_deploy.errors import ExportError
from vim_deploy.export.symbolic_int import symbolic_int


class Windows(nn.Module):
    """Windows of four tokens; the batch size is computed from their number."""

    def forward(self, tokens):
        length, channels = tokens.shape[1:]
        windows = tokens.reshape(-1, 4, channels).softmax(1)
        batch = int(windows.shape[0] / (length / 4))
        assert isinstance(length, int) and int("3") == 3
        return windows.reshape(batch, length, channels)


class Unknown(nn.Module):
    """The exporter accepts this, and writes a file in which the batch size is a constant."""

    def forward(self, tokens):
        return tokens.reshape(int(tokens.shape[0] ** 1.5 / tokens.shape[0] ** 0.5), -1)


def test_int_of_a_quotient_of_sizes_stays_dynamic(tmp_path, caplog):
    caplog.set_level("INFO", "vim_deploy")
    path = tmp_path / "windows.onnx"
    vim_deploy.export_module(
        Windows(), {"tokens": torch.randn(2, 8, 3)}, path, dynamic_axes={"tokens": {0: "batch"}}
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch in (1, 2, 5):
        tokens = np.random.default_rng(batch).standard_normal((batch, 8, 3), np.float32)
        (found,) = session.run(None, {"tokens": tokens})
        np.testing.assert_allclose(found, Windows()(torch.from_numpy(tokens)).numpy(), atol=1e-6)
    assert f"int() of a dynamic size was kept symbolic during the export, in {__name__}:" in caplog.text


def test_other_uses_of_int_are_refused(tmp_path):
    with pytest.raises(ExportError, match="fixes a"):
        vim_deploy.export_module(
            Unknown(), {"tokens": torch.randn(2, 8)}, tmp_path / "x.onnx", dynamic_axes={"tokens": {0: "n"}}
        )
    assert not list(tmp_path.iterdir())


def test_int_is_the_builtin_again_after_an_error():
    with pytest.raises(ZeroDivisionError), symbolic_int(Windows()) as lines:
        assert globals()["int"] is int and issubclass(bool, int) and int("7", 8) == 7 and not lines
        raise ZeroDivisionError
    assert "int" not in globals()
