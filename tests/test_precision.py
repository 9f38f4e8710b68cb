"""The facts about precisions that code depends on."""

from __future__ import annotations

import pytest

from vim_deploy.precision import FILE_PRECISIONS, FLOAT_PRECISIONS, MATMUL_PRECISIONS, Precision


@pytest.mark.parametrize("precision", Precision)
def test_all_but_the_inputs_of_matmuls_has_a_floating_point_precision(precision):
    if precision in FLOAT_PRECISIONS:
        assert precision.activations is precision
    else:
        assert precision.activations is Precision.FP32
    assert precision.activations.dtype == precision.dtype


def test_every_precision_is_one_of_files_or_of_matmuls():
    assert {*FILE_PRECISIONS, *MATMUL_PRECISIONS.values()} == set(Precision)
