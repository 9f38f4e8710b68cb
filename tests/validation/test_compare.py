"""`compare` on plain functions: figures, groups, and what makes a comparison fail."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from vim_deploy.data.preprocess import Preprocessing
from vim_deploy.parity.difference import rank_correlation
from vim_deploy.precision import Precision
from vim_deploy.validation import Input, compare, hard_inputs, random_inputs
from vim_deploy.validation.compare import Tolerance
from vim_deploy.validation.inputs import digest, stacked

GENERATOR = np.random.default_rng(0)
WEIGHTS = GENERATOR.standard_normal((12, 7))
INPUTS = GENERATOR.standard_normal((6, 12)).astype(np.float32)


def reference(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float64) @ WEIGHTS


def test_equal_models_are_equal():
    report = compare(reference, reference, INPUTS)
    total = report.group()
    assert report.passed and not report.changed
    assert (total.max_abs, total.relative, total.top1, total.top5) == (0, 0, 1, 1)
    assert total.signal_to_noise_db == math.inf
    assert total.rank_correlation == pytest.approx(1)


def test_figures_match_their_definitions():
    noise = GENERATOR.standard_normal((6, 7)) * 0.3

    def candidate(values):
        return reference(values) + noise

    report = compare(reference, candidate, INPUTS, batch=6)
    expected = reference(INPUTS)
    worst = (np.abs(noise).max(1) / np.abs(expected).max(1)).max()
    assert report.group().relative == pytest.approx(worst)
    assert report.group().max_abs == pytest.approx(np.abs(noise).max())
    for image, row, extra in zip(report.images, expected, noise, strict=True):
        assert image.signal_to_noise_db == pytest.approx(10 * np.log10((row**2).sum() / (extra**2).sum()))
        ranks = [values.argsort().argsort() for values in (row, row + extra)]
        assert image.rank_correlation == pytest.approx(np.corrcoef(*ranks)[0, 1])
        assert image.margin == pytest.approx(np.sort(row)[-1] - np.sort(row)[-2])
    changed = (expected.argmax(1) != (expected + noise).argmax(1)).sum()
    assert len(report.changed) == changed
    assert report.group().top1 == pytest.approx(1 - changed / 6)


def test_ranks_of_equal_values_are_shared():
    a, b = np.array([1.0, 2, 2, 3, 2]), np.array([2.0, 1, 1, 3, 0])
    assert rank_correlation(a, b) == pytest.approx(np.corrcoef([1, 3, 3, 5, 3], [4, 2.5, 2.5, 5, 1])[0, 1])
    assert rank_correlation(np.ones(3), np.arange(3.0)) == 0


def test_a_changed_class_is_reported_with_its_margin():
    def scores(values):
        return np.array([[1.0, 1.00001, 0]])

    def swapped(values):
        return np.array([[1.00001, 1.0, 0]])

    report = compare(scores, swapped, [Input("tie.png", "real", np.zeros(1, np.float32))])
    (changed,) = report.changed
    assert (changed.name, changed.decision) == ("tie.png", (1, 0))
    assert changed.margin == pytest.approx(1e-5)
    assert report.passed  # a tie within the tolerance
    assert report.to_dict()["decisions_changed"][0]["name"] == "tie.png"


@pytest.mark.parametrize("precision", [each for each in Precision if not each.judged_by_accuracy])
def test_the_tolerance_follows_the_precision(precision):
    limit = precision.tolerance

    def with_error(size):
        def candidate(values):
            found = reference(values)
            found[:, 3] += size * np.abs(found).max(1)
            return found

        return compare(reference, candidate, INPUTS, precision=precision)

    assert with_error(0.9 * limit).passed
    bad = with_error(1.1 * limit)
    assert not bad.passed
    assert f"limit {limit:g}" in bad.reasons[0]


def test_noise_on_all_outputs_fails_by_the_signal_to_noise_ratio():
    """Peaked outputs: every difference is small relative to the peak, but large relative to the rest."""
    peaked = np.full((1, 1000), 1e-3)
    peaked[0, 0] = 1.0
    noise = np.full((1, 1000), 1.5e-4)
    report = compare(lambda values: peaked, lambda values: peaked + noise, np.zeros((1, 1), np.float32))
    assert report.group().relative <= Precision.FP32.tolerance
    assert [reason.split()[0] for reason in report.reasons] == ["signal-to-noise"]


def test_nan_never_passes():
    def broken(values):
        found = reference(values)
        found[2, 1] = np.nan
        return found

    report = compare(reference, broken, INPUTS, batch=6)
    assert not report.passed
    assert [image.name for image in report.changed] == ["2"]
    assert report.group().top1 == pytest.approx(5 / 6)
    json.dumps(report.to_dict(), allow_nan=False)


def test_each_image_is_relative_to_its_own_values():
    """Large values of another image do not hide an error on this one."""

    def candidate(values):
        found = reference(values)
        found[0] *= 1.01
        return found

    scaled = INPUTS.copy()
    scaled[1:] *= 1e4
    assert not compare(reference, candidate, scaled, batch=6).passed


def test_groups_and_features():
    inputs = [Input(str(i), "real" if i < 2 else "hard", row) for i, row in enumerate(INPUTS)]
    report = compare(reference, reference, inputs, decisions=False)
    assert [(group.kind, group.images) for group in report.groups()] == [("real", 2), ("hard", 4), ("all", 6)]
    assert report.group().top1 is None


def test_different_shapes_are_refused():
    with pytest.raises(ValueError, match="expected equal shapes"):
        compare(reference, lambda values: values, INPUTS)


def test_hard_inputs_match_their_names():
    preprocessing = Preprocessing((32, 48))
    inputs = {item.name: item.pixels for item in hard_inputs(preprocessing)}
    assert len(inputs) == 8
    assert all(pixels.shape == (3, 32, 48) and pixels.dtype == np.float32 for pixels in inputs.values())
    mean, std = np.array(preprocessing.mean), np.array(preprocessing.std)
    assert inputs["black"][:, 5, 5] == pytest.approx(-mean / std, rel=1e-6)
    assert inputs["white"][:, 5, 5] == pytest.approx((1 - mean) / std, rel=1e-6)
    assert (inputs["checkerboard"][:, 0, 0] != inputs["checkerboard"][:, 0, 1]).all()
    assert np.abs(inputs["large values"]).max() > 100
    assert (inputs["one white pixel"] != inputs["black"]).any(0).sum() == 1


def test_the_digest_depends_on_names_and_pixels():
    same, other = random_inputs((3, 4, 4)), random_inputs((3, 4, 4), seed=1)
    assert digest(same) == digest(random_inputs((3, 4, 4))) != digest(other)
    assert stacked(same).shape == (4, 3, 4, 4)
    renamed = [Input("another", same[0].kind, same[0].pixels), *same[1:]]
    assert digest(renamed) != digest(same)


@pytest.mark.parametrize(
    ("tolerance", "reason"),
    [
        (Tolerance(rtol=0.02), None),
        (Tolerance(rtol=0.005), "relative difference 1.00e-02 on 0, limit 0.005"),
        (Tolerance(atol=0.05), None),
        (Tolerance(atol=0.03), "difference 4.00e-02 (1.00e-02 relative) on 0, limit 0.03"),
        (Tolerance(atol=0.02, rtol=0.006), None),
        (Tolerance(atol=0.02, rtol=0.004), "limit 0.02 + 0.004 relative"),
        (Tolerance(), "relative difference 1.00e-02 on 0, limit 0"),
    ],
)
def test_a_given_tolerance_replaces_that_of_the_precision(tolerance, reason):
    reference = np.array([[4.0, 1.0, -2.0]])
    report = compare(lambda x: x, lambda x: x + np.array([0.04, 0, 0]), reference, tolerance=tolerance)
    assert report.passed == (reason is None)
    assert reason is None or reason in report.reasons[0]
    assert report.to_dict()["absolute_tolerance"] == tolerance.atol


def test_nan_exceeds_every_given_tolerance():
    report = compare(lambda x: x, lambda x: x * np.nan, np.ones((1, 3)), tolerance=Tolerance(atol=1e9))
    assert not report.passed
