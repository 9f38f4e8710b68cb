"""Objects of an image matched with its annotations, and the order of images that follows from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from vim_deploy.results import Row
from vim_deploy.tasks.detect.annotations import Annotations
from vim_deploy.tasks.detect.columns import ObjectColumns
from vim_deploy.tasks.detect.matching import AnnotatedObjects, Matches, iou
from vim_deploy.tasks.detect.result import Detection

CAT, DOG = 0, 1


@pytest.fixture
def annotated() -> AnnotatedObjects:
    """a.png: two cats and a crowd of dogs. b.png: a dog and an object of a class that the model lacks."""
    entries = [(7, 11, [0, 0, 10, 10], 0), (7, 11, [20, 0, 10, 10], 0), (7, 12, [0, 0, 90, 90], 1),
               (8, 12, [5, 5, 20, 10], 0), (8, 13, [0, 0, 4, 4], 0)]  # fmt: skip
    content = {
        "annotations": [
            {"image_id": image, "category_id": category, "bbox": box, "iscrowd": crowd}
            for image, category, box, crowd in entries
        ]
    }
    return AnnotatedObjects(Annotations(Path("x.json"), content, {"a.png": 7, "b.png": 8}, (11, 12)))


def found(index: int, *box: float, score: float = 0.9) -> Detection:
    return Detection(index, ("cat", "dog")[index], score, box)


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        ((found(CAT, 0, 0, 10, 10), found(CAT, 20, 0, 30, 10)), Matches(2, 0, 0)),
        ((found(CAT, 0, 0, 10, 10), found(CAT, 1, 0, 10, 10)), Matches(1, 1, 1)),  # the same cat twice
        ((found(DOG, 0, 0, 10, 10),), Matches(0, 1, 2)),
        ((found(CAT, 0, 0, 10, 4.9), found(CAT, 20, 0, 30, 5)), Matches(1, 1, 1)),  # IoU 0.49 and 0.5
        ((), Matches(0, 0, 2)),
    ],
)
def test_each_annotation_is_matched_once(annotated, objects, expected):
    assert annotated.match("images/a.png", objects) == expected


def test_classes_without_annotations_and_other_images(annotated):
    assert annotated.match("b.png", (found(DOG, 5, 5, 25, 15),)) == Matches(1, 0, 0)
    assert annotated.match("c.png", ()) is None


def test_the_overlap_of_boxes():
    assert iou((0, 0, 4, 4), (2, 2, 6, 6)) == pytest.approx(4 / 28)
    assert iou((0, 0, 4, 4), (4, 0, 8, 4)) == iou((0, 0, 0, 0), (0, 0, 0, 0)) == 0


def test_mistakes_are_those_of_objects_above_the_threshold(annotated):
    columns = ObjectColumns(0.25, annotated)
    good = found(CAT, 0, 0, 10, 10), found(CAT, 20, 0, 30, 10), found(DOG, 0, 0, 3, 3, score=0.1)
    row = Row("images/a.png", "ok", result=good)
    assert (columns.mistake(row), columns.remark(row)) == (None, "2 correct, 0 wrong, 0 missed")
    row = Row("images/a.png", "ok", result=good[:1])
    assert columns.mistake(row) == pytest.approx(1 / 2)
    assert columns.remark(row) == "1 correct, 0 wrong, 1 missed"
    assert columns.mistake(Row("c.png", "ok", result=good)) is None
    assert columns.mistake(Row("a.png", "error", reason="damaged")) is None
    assert ObjectColumns().mistake(row) is None
