"""Parts of a batch: every image once, in order, and batches that cannot be parted stay whole."""

import numpy as np
import pytest

from vim_deploy.engines.onnxruntime.batching import images_at_once, parts
from vim_deploy.engines.tensors import TensorSpec

PIXELS = TensorSpec("pixels", "float32", (None, 3, None, None))
LOGITS = TensorSpec("logits", "float32", (None, 10))


@pytest.mark.parametrize(
    ("images", "at_once", "sizes"), [(5, 2, [1, 2, 2]), (4, 2, [2, 2]), (3, 8, [3]), (0, 2, [0])]
)
def test_parts_hold_every_image_once_in_order(images, at_once, sizes):
    pixels = np.arange(images * 2).reshape(images, 2)
    found = parts(pixels, at_once)
    assert [len(part) for part in found] == sizes
    np.testing.assert_array_equal(np.concatenate(found), pixels)
    assert all(np.shares_memory(part, pixels) for part in found if part.size)


@pytest.mark.parametrize(
    ("side", "threads", "expected"), [(224, 1, 1), (224, 2, 1), (224, 8, 4), (1248, 2, 1), (28, 2, 64)]
)
def test_more_threads_and_smaller_images_are_given_more_at_once(side, threads, expected):
    assert images_at_once(PIXELS, (LOGITS,), (100, 3, side, side), threads) == expected


def test_fixed_batches_and_outputs_that_are_no_rows_of_images_stay_whole():
    fixed = TensorSpec("pixels", "float32", (6, 3, 224, 224))
    boxes = TensorSpec("boxes", "float32", (None, 5))
    assert images_at_once(fixed, (LOGITS,), (6, 3, 224, 224), 2) == 6
    assert images_at_once(PIXELS, (LOGITS, boxes), (6, 3, 224, 224), 2) == 6
