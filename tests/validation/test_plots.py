"""The plot of a layer comparison names its axes, its limit and the first fault."""

from __future__ import annotations

import pytest

from vim_deploy.validation.layers import LayerReport, PartFigures
from vim_deploy.validation.plots import error_against_depth

pytest.importorskip("matplotlib", reason="plots need matplotlib")


def part(name: str, block: int | None, local: float, stream: bool = False) -> PartFigures:
    return PartFigures(name, "scan", block, 1e-6, local, 1e-6, stream)


def test_axes_and_limits_are_named():
    parts = (
        part("tokens", None, 1e-7, stream=True),
        part("layers.0.scan", 0, 1e-7),
        part("layers.0.residual", 0, 1e-7, stream=True),
        part("layers.1.scan", 1, 5e-3),
    )
    above, below = error_against_depth([LayerReport("a.onnx", parts), LayerReport("b.onnx", parts[:3])]).axes
    assert "error" in above.get_ylabel() and "float64" in above.get_title()
    assert "limit" in below.get_ylabel() and "block" in below.get_xlabel()
    assert {text.get_text() for text in above.get_legend().get_texts()} == {"a.onnx", "b.onnx"}
    names = [text.get_text() for text in below.get_legend().get_texts()]
    assert names == ["first fault: layers.1.scan", "limit"]
