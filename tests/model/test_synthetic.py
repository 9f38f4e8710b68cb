"""Synthetic weights and pixels, compared with known values."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from golden_data import load_json

from vim_deploy.model import create_model, fill_synthetic
from vim_deploy.model.synthetic import synthetic_pixels, synthetic_weight, uniform_stream

ANSWERS = load_json("full_logits")["fill_rule_known_answers"]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer["key"])
def test_known_answers(answer):
    assert zlib.crc32(answer["key"].encode()) == answer["crc32"]
    shape = tuple(answer["shape"])
    is_image = answer["key"].startswith("image/")
    values = (
        synthetic_pixels(shape, answer["seed"]) if is_image else synthetic_weight(answer["key"], shape)
    ).ravel()
    assert values.dtype == np.float32
    assert values[: len(answer["first_values"])].tolist() == answer["first_values"]
    assert values[-1] == answer["last_value"]
    assert values.sum(dtype=np.float64) == pytest.approx(answer["sum_f64"], rel=1e-12)


def test_streams_differ_by_seed_and_name_only():
    stream = uniform_stream(0, "a", (4, 5))
    assert np.array_equal(stream.ravel(), uniform_stream(0, "a", (20,)))
    assert not np.array_equal(stream, uniform_stream(1, "a", (4, 5)))
    assert not np.array_equal(stream, uniform_stream(0, "b", (4, 5)))


def test_buffers_are_not_changed():
    model = create_model("vim_tiny", image_size=32, depth=1, embed_dim=16, class_token="none", rope=True)
    before = model.rope.freqs_cos.clone()
    fill_synthetic(model, seed=3)
    assert model.rope.freqs_cos.equal(before)
    assert np.array_equal(model.pos_embed.detach(), synthetic_weight("pos_embed", (1, 4, 16), seed=3))
