"""Results of every task: attributes, equality, pickling, plain data and texts."""

from __future__ import annotations

import json
import pickle
import weakref
from pathlib import Path

import numpy as np
import pytest
from infer_command import run
from PIL import Image
from small_detector import color_detector, with_rectangles
from small_onnx import COLORS, color_model, save
from small_segmenter import color_segmenter, striped

from vim_deploy import (
    ClassifyResult,
    DetectResult,
    EngineError,
    FeaturesResult,
    ImageError,
    Result,
    SegmentResult,
    build,
    load,
)
from vim_deploy.text import printable


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("results")
    models = {
        "classify": color_model(),
        "features": color_model(task="features", class_names=None),
        "segment": color_segmenter(),
        "detect": color_detector(),
    }
    for name, graph in models.items():
        build(save(graph, place / f"{name}.onnx"), place / f"{name}.engine")
    (place / "images").mkdir()
    with_rectangles(place / "images" / "objects.png", (40, 24), {0: (2, 4, 12, 20), 1: (20, 2, 36, 10)})
    striped(place / "images" / "stripes.png")
    (place / "images" / "bad.png").write_text("text")
    return place


@pytest.fixture(autouse=True)
def inside(folder, monkeypatch):
    monkeypatch.chdir(folder)


TASKS = ("classify", "features", "segment", "detect")


def predicted(task: str, source: object = "images", **options: object) -> list[Result]:
    with load(f"{task}.engine") as model:
        return model.predict(source, **options)


def test_classes():
    with load("classify.engine", task="classify") as model:
        (result,) = model.predict("images/stripes.png", top_k=2)
    assert type(result) is ClassifyResult
    assert (result.task, result.class_names, result.size) == ("classify", COLORS, (40, 24))
    assert [score.name for score in result.top] == ["red", "green"]
    assert result.top1 == result.top[0]
    assert result.probabilities.shape == (3,)
    assert result.probabilities.sum() == pytest.approx(1)
    assert result.probabilities[result.top1.index] == result.top1.probability
    assert repr(result).startswith("ClassifyResult('images/stripes.png', 40x24, red 0.9")


def test_features():
    with load("features.engine", task="features") as model:
        (result,) = model.predict(Image.new("RGB", (8, 8), "red"))
        np.testing.assert_allclose(
            result.features,
            model.run(
                np.array([1, 0, 0], np.float32).reshape(1, 3, 1, 1) * np.ones((1, 3, 8, 8), np.float32)
            )["features"][0],
            atol=1e-5,
        )
    assert type(result) is FeaturesResult
    assert repr(result) == "FeaturesResult(image in memory, 8x8, features 3)"


def test_label_maps(folder):
    expected = striped(folder / "again.png", 40, 24)
    with load("segment.engine", task="segment") as model:
        (result,) = model.predict("images/stripes.png", scale="none")
        (scaled,) = model.predict("images/stripes.png", scale=(160, 96))
    assert type(result) is SegmentResult
    assert result.labels.shape == scaled.labels.shape == expected.shape
    assert (result.labels == expected).mean() > 0.8
    assert [area.name for area in result.areas] == ["red", "green", "blue"]
    assert sum(area.pixels for area in result.areas) == result.labels.size
    assert result.mask(0).sum() == next(area.pixels for area in result.areas if area.index == 0)
    assert "red 50.0%" in repr(result)


def test_objects():
    with load("detect.engine", task="detect") as model:
        (result,) = model.predict("images/objects.png")
        (best,) = model.predict("images/objects.png", score_threshold=0.7)
        (none,) = model.predict(Image.new("RGB", (5, 5)))
    assert type(result) is DetectResult
    assert result.labels == ("red", "green")
    np.testing.assert_allclose(result.boxes, [[2, 4, 12, 20], [20, 2, 36, 10]], atol=1.5)
    np.testing.assert_allclose(result.scores, [0.9, 0.6], atol=1e-6)
    assert result.classes.tolist() == [0, 1]
    assert result.masks.shape == (2, 24, 40) and result.masks.dtype == bool
    assert result.masks[0, 12, 6] and not result.masks[0, 12, 30] and result.masks[1, 5, 30]
    assert best.labels == ("red",)
    assert (none.boxes.shape, none.scores.shape, none.masks.shape) == ((0, 4), (0,), (0, 5, 5))
    assert repr(none) == "DetectResult(image in memory, 5x5, no objects)"
    assert repr(result) == "DetectResult('images/objects.png', 40x24, 2 objects: red 0.90, green 0.60)"


@pytest.mark.parametrize("task", TASKS)
def test_a_failed_image_has_the_reason(task):
    bad = predicted(task)[0]
    assert (bad.ok, bad.size, bad.path) == (False, None, "images/bad.png")
    assert "not an image" in str(bad.error)
    attribute = {"classify": "top1", "features": "features", "segment": "labels", "detect": "boxes"}[task]
    with pytest.raises(ImageError, match=r"images/bad.png has no result: not an image, or damaged"):
        getattr(bad, attribute)
    assert repr(bad).startswith(f"{type(bad).__name__}('images/bad.png', error: not an image")
    assert bad.to_dict()["status"] == "error"


@pytest.mark.parametrize("task", TASKS)
def test_results_are_equal_by_value_and_can_be_pickled(task):
    first, second = predicted(task), predicted(task)
    assert first == second
    assert pickle.loads(pickle.dumps(first)) == first
    assert first[1] != first[2] and first[0] != first[1]
    assert first[1] != predicted(task, [Image.open(str(first[1].path))])[0]  # another path
    with pytest.raises(TypeError, match="unhashable"):
        hash(first[0])


def test_a_stream_does_not_keep_label_maps():
    released = most = 0

    def release() -> None:
        nonlocal released
        released += 1

    with load("segment.engine", task="segment") as model:
        images = (Image.new("RGB", (40, 24), "red") for _ in range(200))
        for number, result in enumerate(model.predict(images, stream=True, batch_size=2)):
            weakref.finalize(result.labels, release)
            most = max(most, number + 1 - released)
    assert most <= 4  # the batch, and the result in use


def test_results_differ_in_one_value():
    image = np.zeros((8, 8, 3), np.uint8)
    changed = image.copy()
    changed[0, 0] = 1
    with load("features.engine") as model:
        first, second, same = model.predict([image, changed, image])
    assert first == same and first != second and first != "a text"


@pytest.mark.parametrize("task", TASKS)
def test_plain_data_are_the_rows_of_the_command(task):
    done = run(f"{task}.engine", "images", "-o", f"{task}.jsonl", "--labels", "none")
    assert done.exit_code == 1, done.output
    rows = [json.loads(line) for line in Path(f"{task}.jsonl").read_text().splitlines()]
    assert [json.loads(json.dumps(result.to_dict())) for result in predicted(task)] == rows


def test_plain_data_of_an_image_in_memory_has_no_path():
    (result,) = predicted("classify", Image.new("RGB", (4, 4), "blue"))
    assert result.to_dict()["path"] is None
    assert result.to_dict()["top"][0]["class"] == "blue"


def test_texts_escape_what_a_terminal_would_execute(folder):
    name = "images/\x1b[31m\n.png"
    with load("classify.engine") as model:
        (result,) = model.predict(name)
    assert repr(result) == printable(repr(result)) and "\n" not in repr(result)
    assert "\\x1b" in repr(result)
    with pytest.raises(ImageError) as caught:
        _ = result.top1
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("task", ["classify", "segment", "detect"])
def test_pictures_are_the_overlays_of_the_command(task):
    folder = Path(f"overlays-{task}")
    done = run(f"{task}.engine", "images", "-o", f"{task}-o.csv", "--labels", "none", "--overlays", folder)
    assert done.exit_code == 1, done.output
    for result in predicted(task)[1:]:
        picture = result.plot()
        with Image.open(folder / f"{Path(str(result.path)).stem}.jpg") as overlay:
            assert picture.size == overlay.size
            difference = np.abs(np.asarray(picture, np.int16) - np.asarray(overlay, np.int16))
        assert difference.mean() < 8  # of the JPEG file
        assert result.plot(legend=False).size == (40, 24)
        assert result.plot(legend=False) != Image.open(str(result.path)).convert("RGB") or task == "classify"


@pytest.mark.parametrize("task", ["classify", "segment", "detect"])
def test_pictures_of_images_in_memory_are_those_of_the_file(task):
    path = Path("images/objects.png")
    with Image.open(path) as image:
        image.load()
        values = np.asarray(image)
        (expected,) = predicted(task, path)
        given = [image, values, path.read_bytes(), path.open("rb"), f"file://{path.absolute()}"]
        for result in predicted(task, given):
            assert result.plot() == expected.plot()
            assert pickle.loads(pickle.dumps(result)).plot() == expected.plot()


def test_pictures_show_objects_above_a_threshold():
    (result,) = predicted("detect", "images/objects.png")
    assert result.plot(threshold=0.7) != result.plot(threshold=0.5)


def test_what_has_no_picture():
    bad, good = predicted("features")[:2]
    with pytest.raises(EngineError, match="predictions of the task features cannot be drawn"):
        good.plot()
    with pytest.raises(ImageError, match="has no result"):
        bad.plot()
    Image.new("RGB", (4, 4)).save("images/gone.png")
    (gone,) = predicted("classify", "images/gone.png")
    Path("images/gone.png").unlink()
    with pytest.raises(ImageError, match="No such file"):
        gone.plot()
