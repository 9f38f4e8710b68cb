"""Images for detectors: scaled to fit, padded with zeros after normalization."""

from __future__ import annotations

import numpy as np
import pytest
from dense.golden_detector import golden_input
from golden_data import assert_close, load_tensors
from PIL import Image

from vim_deploy.data.padded import Padded, padded_pixels
from vim_deploy.data.preparation import preparation_from
from vim_deploy.data.preprocess import Preprocessing


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((640, 480), (768, 1024)),
        ((480, 640), (1024, 768)),
        ((2000, 1000), (512, 1024)),
        ((1024, 1024), (1024, 1024)),
        ((50, 50), (1024, 1024)),
        ((100_000, 1), (1, 1024)),
        ((333, 500), (1024, 682)),
    ],
)
def test_images_are_scaled_to_fit_and_keep_their_proportions(size, expected):
    assert Padded((1024, 1024)).scaled_size(size) == expected


def test_preprocessing_matches_the_reference():
    image = Image.fromarray(load_tensors("detector")["image"].transpose(1, 2, 0))
    preprocessing = Preprocessing((128, 128), 1.0)
    values = Padded((128, 128)).crop(image)
    assert values.shape == Padded((128, 128)).shape(image.size)
    assert_close(padded_pixels(values, preprocessing), golden_input()[0], 1e-5)


def test_only_padding_is_zero():
    """The graph detects padding by its zeros; with the reference's means, pixels are not zero."""
    values = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    pixels = padded_pixels(values, Preprocessing((20, 24), 1.0))
    assert (pixels[:, :16, :16] != 0).all()
    assert (pixels[:, 16:] == 0).all()
    assert (pixels[:, :, 16:] == 0).all()


def test_decoder_processes_give_the_same_pixels():
    given = Padded((32, 48), 1)
    assert preparation_from(given.to_dict()) == given
