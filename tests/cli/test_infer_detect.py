"""vim-infer with a detector: COCO results, overlays, average precision, and all that can be wrong."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from infer_place import csv_rows, json_rows, make_engine, run, start
from PIL import Image
from small_detector import SCORES, annotations, colour_detector, with_rectangles
from small_onnx import save

from vim_deploy.engine import load_engine
from vim_deploy.engines.build import build_engine
from vim_deploy.errors import EngineError

mask_module = pytest.importorskip("pycocotools.mask", reason="pycocotools (extra detect) is not installed")

SCENES = {
    "1.png": ((32, 32), {0: (2, 4, 12, 20), 1: (16, 6, 30, 18)}),
    "2.png": ((64, 40), {0: (4, 8, 24, 36), 2: (30, 2, 60, 20)}),
    "3.png": ((20, 48), {1: (2, 4, 16, 40)}),
}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    build_engine(save(colour_detector(), Path("colours.onnx")), "colours.engine")
    for name, (size, boxes) in SCENES.items():
        with_rectangles(Path("images", name), size, boxes)


def test_rows_have_each_object_in_the_images_own_pixels():
    result = run("colours.engine", "images", "-o", "out.csv")
    assert result.exit_code == 0, result.output
    rows = csv_rows("out.csv")
    assert list(rows[0]) == [
        "path",
        "status",
        "reason",
        "width",
        "height",
        "flags",
        "count",
        "best",
        "objects",
    ]
    assert [row["count"] for row in rows] == ["2", "2", "1"]
    assert rows[0]["best"] == "red 0.900; green 0.600"
    for row, (size, boxes) in zip(rows, SCENES.values(), strict=True):
        assert (row["width"], row["height"]) == tuple(map(str, size))
        found = json.loads(row["objects"])
        assert [entry["index"] for entry in found] == sorted(boxes)
        for entry in found:
            # A pixel of the scaled image; rounded edges of enlarged rectangles.
            np.testing.assert_allclose(entry["box"], boxes[entry["index"]], atol=max(size) / 32)
            assert entry["score"] == pytest.approx(SCORES[entry["index"]])
    assert "5 objects: 2 red, 2 green, 1 blue" in result.output


def test_coco_results_have_boxes_categories_and_masks():
    result = run("colours.engine", "images", "-o", "out.jsonl", "--coco", "found.json")
    assert result.exit_code == 0, result.output
    found = json.loads(Path("found.json").read_text())
    assert [(entry["image_id"], entry["category_id"]) for entry in found] == [
        (1, 1), (1, 2), (2, 1), (2, 3), (3, 2),
    ]  # fmt: skip
    for entry in found:
        (width, height), boxes = SCENES[f"{entry['image_id']}.png"]
        left, top, right, bottom = boxes[entry["category_id"] - 1]
        np.testing.assert_allclose(
            entry["bbox"], [left, top, right - left, bottom - top], atol=max(width, height) / 32
        )
        mask = mask_module.decode(
            {"size": entry["segmentation"]["size"], "counts": entry["segmentation"]["counts"].encode()}
        )
        assert mask.shape == (height, width)
        true = np.zeros((height, width), bool)
        true[top:bottom, left:right] = True
        assert (mask.astype(bool) & true).sum() / (mask.astype(bool) | true).sum() > 0.8


def test_average_precision_of_right_boxes_is_one():
    # Exact where nothing is scaled.
    annotations(Path("truth.json"), {"1.png": SCENES["1.png"]})
    result = run("colours.engine", "images/1.png", "-o", "out.csv", "--annotations", "truth.json", "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary["annotated_images"], summary["judged_images"]) == (1, 1)
    for kind in ("bbox", "segm"):
        assert summary["average_precision"][kind]["AP"] == pytest.approx(1.0)
        assert summary["average_precision"][kind]["APlarge"] is None
    assert "boxes: AP 1.000" in result.stderr


def test_annotations_without_outlines_judge_boxes_alone():
    annotations(Path("truth.json"), {"1.png": SCENES["1.png"]})
    content = json.loads(Path("truth.json").read_text())
    for entry in content["annotations"]:
        del entry["segmentation"], entry["area"], entry["iscrowd"]
    Path("truth.json").write_text(json.dumps(content))
    result = run("colours.engine", "images/1.png", "-o", "out.csv", "--annotations", "truth.json", "--json")
    assert result.exit_code == 0, result.output
    assert list(json.loads(result.stdout)["average_precision"]) == ["bbox"]


def test_average_precision_is_over_the_images_of_the_run_and_falls_with_mistakes():
    wrong = {name: (size, {2: (0, 0, 5, 5)}) for name, (size, _) in SCENES.items()}
    annotations(Path("truth.json"), {**wrong, "elsewhere.png": SCENES["1.png"]})
    result = run("colours.engine", "images", "-o", "out.csv", "--annotations", "truth.json", "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary["annotated_images"], summary["judged_images"]) == (4, 3)
    assert summary["average_precision"]["bbox"]["AP"] == 0


def test_results_have_the_ids_of_the_annotations():
    annotations(Path("truth.json"), {name: SCENES[name] for name in ("2.png", "1.png")})
    result = run(
        "colours.engine", "images", "-o", "out.csv", "--annotations", "truth.json", "--coco", "found.json"
    )
    assert result.exit_code == 0, result.output
    found = json.loads(Path("found.json").read_text())
    assert {(entry["image_id"], entry["category_id"]) for entry in found} == {
        (8, 11), (8, 12), (7, 11), (7, 13),
    }  # fmt: skip


def test_a_threshold_keeps_the_better_objects():
    run("colours.engine", "images", "-o", "out.jsonl", "--score-threshold", "0.5")
    assert [[found["class"] for found in row["objects"]] for row in json_rows("out.jsonl")] == [
        ["red", "green"], ["red"], ["green"],
    ]  # fmt: skip


def test_overlays_show_boxes_masks_and_names():
    result = run("colours.engine", "images", "-o", "out.csv", "--overlays", "seen")
    assert result.exit_code == 0, result.output
    with Image.open("seen/2.jpg") as image:
        assert image.size == (32, 20)  # as the network saw it
        values = np.asarray(image).astype(int)
    with Image.open("images/2.png") as image:
        plain = np.asarray(image.resize((32, 20), Image.Resampling.BILINEAR)).astype(int)
    inside, outside = (slice(12, 16), slice(4, 10)), (slice(14, 18), slice(24, 30))
    assert np.abs(values[inside] - plain[inside]).mean() > 20
    assert np.abs(values[outside] - plain[outside]).mean() < 20


def test_an_image_without_objects_is_a_row_and_a_damaged_one_says_why():
    with_rectangles(Path("more", "a.png"), (30, 30), {})
    Path("more", "b.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    result = run("colours.engine", "more", "-o", "out.csv", "--coco", "found.json", "--overlays", "seen")
    assert result.exit_code == 1
    first, second = csv_rows("out.csv")
    assert (first["status"], first["count"], first["objects"]) == ("ok", "0", "[]")
    assert (second["status"], second["count"]) == ("error", "")
    assert json.loads(Path("found.json").read_text()) == []
    assert Path("seen", "a.jpg").is_file()


def test_an_image_thinner_than_a_pixel_of_the_network_is_a_row():
    with_rectangles(Path("thin", "a.png"), (2000, 3), {0: (100, 0, 900, 3)})
    assert run("colours.engine", "thin", "-o", "out.csv", "--coco", "found.json").exit_code == 0
    (row,) = csv_rows("out.csv")
    (found,) = json.loads(row["objects"])
    np.testing.assert_allclose(found["box"], [100, 0, 900, 3], atol=2000 / 32)


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet"])
def test_rows_read_back_give_the_same_results(name):
    """What a continued run makes of the rows of the earlier one."""
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    from vim_deploy.results import format_of
    from vim_deploy.results.read import read_rows

    assert run("colours.engine", "images", "-o", name, "--coco", "found.json").exit_code == 0
    rows = list(read_rows(Path(name), format_of(Path(name), None), "detect", 5))
    results = json.loads(Path("found.json").read_text())
    outlines = [entry["segmentation"]["counts"] for entry in results]
    assert [found.outline for row in rows for found in row.objects] == outlines
    assert rows[0].objects[0].box == pytest.approx((2, 4, 12, 20))


def test_a_killed_run_is_completed_and_its_results_have_every_object_once():
    count = 60
    for index in range(count):
        with_rectangles(Path("many", f"{index:03d}.png"), (32, 32), {0: (index % 9, 3, 12 + index % 9, 20)})
    command = ("colours.engine", "many", "-o", "out.csv", "--coco", "found.json", "--workers", "1")
    process = start(*command, "--quiet")
    partial = Path("out.csv.partial")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (partial.exists() and partial.read_text().count("\n") > 5):
        if process.poll() is not None:
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if Path("found.json").exists():
        pytest.skip("the run was through before it could be killed")
    result = run(*command, "--resume")
    assert result.exit_code == 0, result.output
    found = json.loads(Path("found.json").read_text())
    assert sorted(entry["image_id"] for entry in found) == list(range(count))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found.update(index=7), "has the class number 7"),
        (lambda found: found.update(outline=None), "has an object without outline"),
    ],
)
def test_kept_rows_that_were_edited_are_refused(change, message):
    Path("images", "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    given = ("colours.engine", "images", "-o", "out.jsonl", "--coco", "found.json")
    assert run(*given, "--max-failures", "0").exit_code == 3
    partial = Path("out.jsonl.partial")
    rows = json_rows(partial)
    change(rows[0]["objects"][0])
    partial.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = run(*given, "--resume")
    assert result.exit_code in (2, 3)
    assert message in " ".join(result.output.split())


def test_a_run_is_not_continued_with_another_threshold_or_without_masks():
    Path("images", "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    given = ("colours.engine", "images", "-o", "out.csv")
    assert run(*given, "--coco", "found.json", "--max-failures", "0").exit_code == 3
    assert run(*given, "--resume").exit_code == 2
    assert run(*given, "--resume", "--coco", "found.json", "--score-threshold", "0.5").exit_code == 2
    assert run(*given, "--resume", "--coco", "found.json").exit_code == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "truth.json is empty; expected COCO's format"),
        ("{", "truth.json is not JSON"),
        ("[]", "holds a list"),
        ('{"images": [], "annotations": [], "categories": []}', "has no images: the list is empty"),
        ('{"images": [{"id": 1, "file_name": "a"}], "categories": []}', "annotations: the list is missing"),
        ('{"images": [{"id": 1}]}', "number 0 of images has no 'file_name'"),
    ],
)
def test_annotations_that_are_none_are_refused_before_the_first_row(content, message):
    Path("truth.json").write_text(content)
    result = run("colours.engine", "images", "-o", "out.csv", "--annotations", "truth.json")
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert not Path("out.csv").exists()


def test_annotations_whose_categories_do_not_fit_are_refused():
    given = ("colours.engine", "images", "-o", "out.csv", "--annotations", "truth.json")
    foreign = [{"id": 11, "name": "cat"}, {"id": 12, "name": "green"}, {"id": 13, "name": "blue"}]
    annotations(Path("truth.json"), SCENES, categories=foreign)
    result = run(*given)
    assert result.exit_code == 2
    assert "annotations of cat, which the model does not know; its classes are red, green, blue" in " ".join(
        result.output.split()
    )
    annotations(Path("truth.json"), SCENES, categories=foreign[1:])
    assert "categories 11, which its list of categories lacks" in " ".join(run(*given).output.split())


def test_annotations_of_other_images_are_said_and_the_rows_are_kept():
    annotations(Path("truth.json"), {"other.png": SCENES["1.png"]})
    given = ("colours.engine", "images", "-o", "out.csv", "--annotations")
    result = run(*given, "truth.json")
    assert result.exit_code == 3
    assert "none of its 1 images (other.png, ...) is among those of this run" in " ".join(
        result.output.split()
    )
    annotations(Path("truth.json"), SCENES)
    assert run(*given, "truth.json", "--resume").exit_code == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": {}}, "is for None classes"),
        ({"config": {"head": {"num_classes": "3", "score_threshold": 0.05}}}, "is for '3' classes"),
        ({"config": {"head": {"num_classes": 3, "score_threshold": "low"}}}, "score threshold 'low'"),
        ({"class_names": ("red", "green")}, "3 classes and 2 class names"),
    ],
)
def test_a_file_whose_classes_or_threshold_were_edited_is_refused(changes, message):
    with pytest.raises(EngineError, match=message):
        build_engine(save(colour_detector(**changes), Path("edited.onnx")), "edited.engine")


def test_a_class_that_the_file_does_not_have_is_refused():
    """Its outputs are not believed."""
    names = ("red", "green")
    head = {"num_classes": 2, "score_threshold": 0.05}
    save(colour_detector(class_names=names, config={"head": head}), Path("two.onnx"))
    build_engine("two.onnx", "two.engine")
    result = run("two.engine", "images/2.png", "-o", "out.csv")
    assert result.exit_code == 2
    assert "classes from 0 to 1" in " ".join(result.output.split())


def test_the_python_interface_gives_objects_and_their_masks():
    with load_engine("colours.engine") as engine, Image.open("images/1.png") as image:
        (found,) = engine.predict(image)
    assert [entry.name for entry in found.objects.found] == ["red", "green"]
    assert found.objects.masks.shape == (2, 28, 28)
    assert found.objects.found[0].box == pytest.approx((2, 4, 12, 20))


def test_a_report_names_the_best_classes():
    assert run("colours.engine", "images", "-o", "out.csv", "--report", "page.html").exit_code == 0
    assert '["green", 0.6]' in Path("page.html").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--score-threshold", "0.01"), "expected 0.05 or more"),
        (("--maps", "maps"), "--maps: only for models of the task segment"),
        (("--coco", "nowhere/found.json"), "cannot be written"),
        (("--coco", "out.csv"), "is the file of the results"),
        (("--coco", "colours.engine"), "is the file of the engine"),
        (("--coco", "images/1.png"), "is an image, and would be replaced"),
        (("--annotations", "missing.json"), "cannot be read"),
        (("--overlays", "images/seen"), "lies in the input folder"),
        (("--batch-size", "2"), "fixed to batches of 1"),
    ],
)
def test_options_that_cannot_be_are_refused_before_the_first_row(options, message):
    result = run("colours.engine", "images", "-o", "out.csv", *options)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert not Path("out.csv").exists()


def test_a_classifier_has_no_coco_results():
    make_engine("classes.engine")
    result = run("classes.engine", "images", "-o", "out.csv", "--coco", "found.json")
    assert result.exit_code == 2
    assert "--coco: only for models of the task detect" in " ".join(result.output.split())
