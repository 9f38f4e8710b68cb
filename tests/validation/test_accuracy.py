"""Labels from folders and tables, accuracies, and the confidence interval of their difference."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vim_deploy.data.preprocess import Preprocessing
from vim_deploy.errors import EngineError, ImageError
from vim_deploy.validation.accuracy import measure, paired, ranks_of
from vim_deploy.validation.labels import LabelSource, labeled_images
from vim_deploy.validation.statistics import mcnemar, newcombe_paired_interval, wilson_interval

NAMES = ("n03", "n01", "n02")
COLORS = {"n03": (250, 0, 0), "n01": (0, 250, 0), "n02": (0, 0, 250)}


@pytest.fixture
def folder(tmp_path):
    """Two images of each color, in folders named like synsets."""
    for name, color in COLORS.items():
        (tmp_path / "val" / name).mkdir(parents=True)
        for index in range(2):
            Image.new("RGB", (8, 8), color).save(tmp_path / "val" / name / f"{name}_{index}.png")
    return tmp_path / "val"


@pytest.fixture
def synsets(tmp_path):
    path = tmp_path / "synsets.txt"
    path.write_text("n03 red, crimson\nn01 green\nn02 blue\n")
    return path


def labels_by_name(found):
    return {Path(path).stem: label for path, label in found}


EXPECTED = {"n03_0": 0, "n03_1": 0, "n01_0": 1, "n01_1": 1, "n02_0": 2, "n02_1": 2}


def test_class_folders_by_synset_and_by_order(folder, synsets):
    by_synset = labeled_images([str(folder)], LabelSource("folder", synsets), ("red", "green", "blue"))
    assert labels_by_name(by_synset) == EXPECTED
    in_order = labeled_images([str(folder)], LabelSource("sorted"), ("a", "b", "c"))
    assert labels_by_name(in_order)["n01_0"] == 0 and labels_by_name(in_order)["n03_1"] == 2
    assert len(labeled_images([str(folder)], LabelSource("folder", synsets, limit=3), ())) == 3


@pytest.mark.parametrize(
    "lines",
    [
        "ImageId,PredictionString\nn03_0,n03 85 1 499 272\nn01_1,n01 1 2 3 4\n",
        "n03_0.png n03\nn01_1.png n01\n",
        "n03_0.png 0\nn01_1.png 1\n",
    ],
    ids=["with boxes", "synsets", "indices"],
)
def test_flat_folder_with_a_table(folder, synsets, tmp_path, lines):
    table = tmp_path / "labels.txt"
    table.write_text(lines)
    found = labeled_images([str(folder)], LabelSource(str(table), synsets), ())
    assert labels_by_name(found) == {"n03_0": 0, "n01_1": 1}


def test_invalid_labels_are_reported(folder, synsets, tmp_path):
    table = tmp_path / "labels.txt"
    table.write_text("n03_0.png n03\nn01_1.png n77\n")
    with pytest.raises(ImageError, match=r"line 2: 'n01_1\.png n77'"):
        labeled_images([str(folder)], LabelSource(str(table), synsets), ())
    with pytest.raises(ImageError, match="lists 3 classes, the model has 5"):
        labeled_images([str(folder)], LabelSource("folder", synsets), tuple("abcde"))
    table.write_text("elsewhere.png 0\n")
    with pytest.raises(ImageError, match="has a label in"):
        labeled_images([str(folder)], LabelSource(str(table)), NAMES)
    with pytest.raises(ImageError, match="cannot be read"):
        labeled_images([str(folder)], LabelSource(str(tmp_path / "none.txt")), NAMES)


def test_accuracies_of_models_that_classify_by_color(folder, synsets):
    labeled = labeled_images([str(folder)], LabelSource("folder", synsets), ())
    preprocessing = Preprocessing((8, 8), 1.0, (0.0,) * 3, (1.0,) * 3)

    def by_color(pixels):
        return pixels.mean((2, 3))

    def blind_to_blue(pixels):
        return by_color(pixels) * np.array([1, 1, -1])

    right, wrong = measure(by_color, [by_color, blind_to_blue], labeled, preprocessing)
    assert (right.reference_top1, right.top1, right.only_reference) == (1, 1, 0)
    assert (wrong.top1, wrong.only_reference, wrong.only_artifact) == (pytest.approx(4 / 6), 2, 0)
    assert wrong.interval[0] < -2 / 6 < wrong.interval[1]
    assert wrong.p_value == 0.5  # two images, both lost


def test_nan_is_never_correct():
    ranks = ranks_of(np.array([[np.nan, np.nan], [0.1, 0.3]]), np.array([0, 1]))
    assert ranks.tolist() == [2, 0]


def test_paired_counts():
    found = paired(np.array([0, 0, 3, 7]), np.array([0, 1, 0, 4]))
    assert (found.reference_top1, found.top1) == (0.5, 0.5)
    assert (found.reference_top5, found.top5) == (0.75, 1.0)
    assert (found.only_reference, found.only_artifact) == (1, 1)


def test_wilson_interval():
    # The ends of the interval are the proportions 1.96 standard errors from the observation.
    low, high = wilson_interval(81, 263)
    for end in (low, high):
        assert abs(81 / 263 - end) / math.sqrt(end * (1 - end) / 263) == pytest.approx(1.96, abs=1e-3)
    assert wilson_interval(0, 10)[0] == 0 and wilson_interval(10, 10)[1] == pytest.approx(1)


def test_newcombe_interval_has_95_percent_coverage():
    generator = np.random.default_rng(0)
    shares = [0.70, 0.04, 0.03, 0.23]
    covered = 0
    for counts in generator.multinomial(400, shares, size=2000):
        low, high = newcombe_paired_interval(*(int(count) for count in counts))
        covered += low <= shares[2] - shares[1] <= high
    assert 0.94 <= covered / 2000 <= 0.985


def test_newcombe_interval_is_antisymmetric_and_smaller_than_unpaired():
    low, high = newcombe_paired_interval(700, 30, 20, 250)
    assert newcombe_paired_interval(700, 20, 30, 250) == pytest.approx((-high, -low))
    assert low < -0.01 < high
    # Unpaired, two proportions of 0.72 of 1000 images each have an interval of about 0.04.
    assert high - low < 0.03


def test_mcnemar():
    assert mcnemar(0, 0) == 1
    assert mcnemar(5, 5) == 1
    assert mcnemar(0, 6) == pytest.approx(2 / 2**6)
    assert mcnemar(2, 8) == mcnemar(8, 2) == pytest.approx(2 * (1 + 10 + 45) / 2**10)


def test_only_classification_has_labels():
    from small_onnx import metadata

    from vim_deploy.families.family import ModelSource
    from vim_deploy.validation.reference import check_task
    from vim_deploy.validation.request import ValidationRequest

    request = ValidationRequest(ModelSource("vim_tiny"), (Path("m.onnx"),), labels=LabelSource("folder"))
    check_task(request, metadata())
    with pytest.raises(EngineError, match="--labels needs a task with one class per image"):
        check_task(request, metadata(task="features"))
