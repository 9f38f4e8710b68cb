"""Splitting batches: every image once, in order; batches that cannot be split are run whole."""

import numpy as np
import pytest

from vim_deploy.engines.onnxruntime.batching import can_split, images_at_once, split
from vim_deploy.engines.tensors import TensorSpec
from vim_deploy.tasks.registry import TASKS


@pytest.mark.parametrize(
    ("images", "at_once", "sizes"), [(5, 2, [1, 2, 2]), (4, 2, [2, 2]), (3, 8, [3]), (0, 2, [0])]
)
def test_parts_contain_every_image_once_in_order(images, at_once, sizes):
    pixels = np.arange(images * 2).reshape(images, 2)
    found = split(pixels, at_once)
    assert [len(part) for part in found] == sizes
    np.testing.assert_array_equal(np.concatenate(found), pixels)
    assert all(np.shares_memory(part, pixels) for part in found if part.size)


@pytest.mark.parametrize(
    ("side", "threads", "expected"), [(224, 1, 1), (224, 2, 1), (224, 8, 4), (1248, 2, 1), (28, 2, 64)]
)
def test_more_threads_and_smaller_images_run_more_at_once(side, threads, expected):
    assert images_at_once((100, 3, side, side), threads) == expected


def test_fixed_batches_and_outputs_without_one_row_per_image_are_not_split():
    classify, detect = TASKS.get("classify"), TASKS.get("detect")
    pixels = TensorSpec("pixels", "float32", (None, 3, None, None))
    fixed = TensorSpec("pixels", "float32", (6, 3, 224, 224))
    logits = TensorSpec("logits", "float32", (None, 10))
    other = TensorSpec("layers.0.scan", "float32", (None, None, None))
    assert can_split(classify, pixels, (logits,))
    assert not can_split(classify, fixed, (logits,))
    assert not can_split(classify, pixels, (logits, other))
    assert not can_split(
        detect, pixels, tuple(TensorSpec(name, "float32", (None,)) for name in detect.outputs)
    )
