"""Engines without weights, which get them from their file when they are opened.

All tests use fakes (tests/fake_tensorrt.py), because TensorRT does not start without a GPU.
"""

from __future__ import annotations

import pytest
from tensorrt_environment import Environment

from vim_deploy import load
from vim_deploy.errors import EngineError

pytest.importorskip("onnxruntime", reason="the fake's engines are run by onnxruntime")


@pytest.fixture
def place(tmp_path, monkeypatch):
    return Environment(tmp_path, monkeypatch)


def test_stripped_engines_get_their_weights_from_the_file(place):
    place.install(10)
    engine = place.build("fp16", strip=True)
    # The flag for refitting with the same weights; REFIT loses biases in 11.3.
    assert place.recorder.flags >= {"STRIP_PLAN", "REFIT_IDENTICAL"}
    assert "REFIT" not in place.recorder.flags
    with pytest.raises(EngineError, match=r"has no weights.*--source fp16\.onnx"):
        load(engine)
    load(engine, source=place.folder / "fp16.onnx").close()
    assert len(place.recorder.named("refit_from_bytes")) == 2  # when built, and when opened


def test_missing_weights_are_named(place):
    place.install(11)
    place.recorder.lacking_weights = ("layers.0.mixer.A", "layers.0.mixer.D")
    with pytest.raises(EngineError, match=r"missing: layers\.0\.mixer\.A, .*D\. Build .* without --strip"):
        place.build("fp16", strip=True)


def test_constants_that_the_parser_made_are_taken_from_the_parsed_network(place):
    place.install(10)
    place.recorder.created_weights = ("tmp_weight_1", "tmp_weight_2")
    engine = place.build("fp16", strip=True)
    load(engine, source=place.folder / "fp16.onnx").close()
    given = [(f"(Unnamed Layer* tmp_weight_{i + 1}) [Constant]", "CONSTANT", [i, -3, 0]) for i in (0, 1)]
    assert place.recorder.named("set_weights") == 2 * given  # when built, and when opened


def test_the_reason_of_the_refitter_is_given(place):
    place.install(10)
    place.recorder.created_weights = ("tmp_weight_1",)
    place.recorder.renames_constants = True
    with pytest.raises(
        EngineError, match=r"the weights: Failed to refit all the weights\.; missing: .*tmp_weight_1\. Build"
    ):
        place.build("fp16", strip=True)
