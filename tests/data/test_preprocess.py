"""Preprocessing compared with outputs of the reference, and its rule for sizes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from golden_data import load_json, load_tensors
from PIL import Image

from vim_deploy.data.preprocess import Preprocessing
from vim_deploy.errors import ConfigError

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


@pytest.mark.parametrize("case", load_json("preprocess")["cases"], ids=lambda case: case["name"])
def test_equals_the_reference(case):
    tensors = load_tensors("preprocess")
    preprocess = Preprocessing((case["input_size"],) * 2, case["crop_ratio"])
    image = Image.fromarray(tensors[f"{case['name']}.image_u8"])
    out = preprocess(image)
    every = case["out_stored_every"]
    assert min(preprocess.resized_size(*image.size)) == case["shorter_side_resized_to"]
    assert list(out.shape) == case["out_shape"]
    assert out.dtype == np.float32
    assert out.mean(dtype=np.float64) == pytest.approx(case["out_mean"], abs=1e-5)
    np.testing.assert_allclose(out[:, ::every, ::every], tensors[f"{case['name']}.out"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((100, 100), (109, 109)), ((200, 100), (218, 109)), ((100, 200), (73, 146)), ((2, 3), (73, 109))],
)
def test_rectangular_input_is_covered(size, expected):
    preprocess = Preprocessing((96, 64), 0.875)
    width, height = preprocess.resized_size(*size)
    assert (width, height) == expected
    assert height >= int(96 / 0.875)
    assert width >= int(64 / 0.875)


def test_one_channel_is_grayscale():
    preprocess = Preprocessing((8, 8), 1.0, mean=(0.5,), std=(0.5,), channels=1)
    out = preprocess(Image.new("RGB", (8, 8), (255, 0, 0)))
    assert out.shape == (1, 8, 8)
    # ITU-R 601 luma of pure red is 76.
    np.testing.assert_allclose(out, (76 / 255 - 0.5) / 0.5, atol=1e-6)


def test_extreme_proportions_are_cropped_at_the_center():
    values = np.zeros((60000, 1, 3), np.uint8)
    values[30000 - 300 : 30000 + 300] = 200
    out = Preprocessing((224, 224), **PLAIN)(Image.fromarray(values))
    np.testing.assert_allclose(out, 200 / 255, atol=1e-6)


def test_cropped_resize_is_within_one_step(monkeypatch):
    generator = np.random.default_rng(0)
    image = Image.fromarray(generator.integers(0, 256, (90, 120, 3), np.uint8))
    preprocess = Preprocessing((64, 64), **PLAIN)
    whole = preprocess(image)
    monkeypatch.setattr("vim_deploy.data.preprocess._LARGEST_RESIZED", 0)
    np.testing.assert_allclose(preprocess(image), whole, atol=1.01 / 255)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"image_size": (0, 224)}, "image_size"),
        ({"image_size": (224,)}, "image_size"),
        ({"image_size": (10**9, 224)}, "image_size"),
        ({"crop_ratio": 0.0}, "crop_ratio"),
        ({"crop_ratio": float("nan")}, "crop_ratio"),
        ({"mean": (0.5,)}, "mean"),
        ({"std": (1.0, 1.0, 0.0)}, "std"),
        ({"std": (1.0, 1.0, float("inf"))}, "std"),
        ({"channels": True}, "channels"),
    ],
)
def test_invalid_values_are_named_in_the_error(change, named):
    with pytest.raises(ConfigError, match=named):
        dataclasses.replace(Preprocessing(), **change)


def test_dict_round_trip():
    preprocess = Preprocessing((96, 64), 0.9, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert Preprocessing.from_dict(preprocess.to_dict()) == preprocess


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "preprocessing lacks image_size, crop_ratio, mean, std, channels"),
        ({**Preprocessing().to_dict(), "mean": 3}, "mean is 3; expected a list of numbers"),
    ],
)
def test_malformed_dict_is_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        Preprocessing.from_dict(values)


def test_unsupported_channel_counts_are_refused():
    preprocess = Preprocessing((8, 8), mean=(0.0,) * 5, std=(1.0,) * 5, channels=5)
    with pytest.raises(ConfigError, match="5 channels"):
        preprocess(Image.new("RGB", (8, 8)))
