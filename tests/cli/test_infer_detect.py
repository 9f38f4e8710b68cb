"""vim-infer with a detector: COCO results, overlays, average precision and invalid inputs."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from infer_command import csv_rows, json_rows, make_engine, run, start
from PIL import Image
from small_detector import SCORES, annotations, color_detector, with_rectangles
from small_engines import save_and_build
from small_onnx import save

from vim_deploy import load
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
    save_and_build(color_detector(), "colors.onnx", "colors.engine")
    for name, (size, boxes) in SCENES.items():
        with_rectangles(Path("images", name), size, boxes)


def test_rows_have_each_object_in_pixels_of_the_original_image():
    result = run("colors.engine", "images", "-o", "out.csv")
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
    assert rows[0]["best"] == "red: 0.900; green: 0.600"
    for row, (size, boxes) in zip(rows, SCENES.values(), strict=True):
        assert (row["width"], row["height"]) == tuple(map(str, size))
        found = json.loads(row["objects"])
        assert [entry["index"] for entry in found] == sorted(boxes)
        for entry in found:
            # A pixel of the scaled image; rounded edges of enlarged rectangles.
            np.testing.assert_allclose(entry["box"], boxes[entry["index"]], atol=max(size) / 32)
            assert entry["score"] == pytest.approx(SCORES[entry["index"]])
    assert "5 objects (red: 2, green: 2, blue: 1)" in result.output


def test_coco_results_have_boxes_categories_and_masks():
    result = run("colors.engine", "images", "-o", "out.jsonl", "--coco", "found.json")
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


def test_average_precision_of_correct_boxes_is_one():
    # This image is not scaled, so boxes are exact.
    annotations(Path("annotations.json"), {"1.png": SCENES["1.png"]})
    result = run(
        "colors.engine", "images/1.png", "-o", "out.csv", "--annotations", "annotations.json", "--json"
    )
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary["annotated_images"], summary["evaluated_images"]) == (1, 1)
    for kind in ("bbox", "segm"):
        assert summary["average_precision"][kind]["AP"] == pytest.approx(1.0)
        assert summary["average_precision"][kind]["APlarge"] is None
        by_class = summary["average_precision_by_class"][kind]
        assert by_class == {"red": pytest.approx(1.0), "green": pytest.approx(1.0)}
    assert "boxes: AP 1.000" in result.stderr


def test_annotations_without_masks_evaluate_boxes_only():
    annotations(Path("annotations.json"), {"1.png": SCENES["1.png"]})
    content = json.loads(Path("annotations.json").read_text())
    for entry in content["annotations"]:
        del entry["segmentation"], entry["area"], entry["iscrowd"]
    Path("annotations.json").write_text(json.dumps(content))
    result = run(
        "colors.engine", "images/1.png", "-o", "out.csv", "--annotations", "annotations.json", "--json"
    )
    assert result.exit_code == 0, result.output
    assert list(json.loads(result.stdout)["average_precision"]) == ["bbox"]


def test_average_precision_is_over_the_images_of_the_run():
    incorrect = {name: (size, {2: (0, 0, 5, 5)}) for name, (size, _) in SCENES.items()}
    annotations(Path("annotations.json"), {**incorrect, "elsewhere.png": SCENES["1.png"]})
    result = run("colors.engine", "images", "-o", "out.csv", "--annotations", "annotations.json", "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary["annotated_images"], summary["evaluated_images"]) == (4, 3)
    assert summary["average_precision"]["bbox"]["AP"] == 0
    assert summary["average_precision_by_class"]["bbox"] == {"blue": 0}


def test_coco_results_use_the_ids_of_the_annotations():
    annotations(Path("annotations.json"), {name: SCENES[name] for name in ("2.png", "1.png")})
    result = run(
        "colors.engine",
        "images",
        "-o",
        "out.csv",
        "--annotations",
        "annotations.json",
        "--coco",
        "found.json",
    )
    assert result.exit_code == 0, result.output
    found = json.loads(Path("found.json").read_text())
    assert {(entry["image_id"], entry["category_id"]) for entry in found} == {
        (8, 11), (8, 12), (7, 11), (7, 13),
    }  # fmt: skip


def test_score_threshold():
    run("colors.engine", "images", "-o", "out.jsonl", "--score-threshold", "0.5")
    assert [[found["class"] for found in row["objects"]] for row in json_rows("out.jsonl")] == [
        ["red", "green"], ["red"], ["green"],
    ]  # fmt: skip


def test_overlays_show_boxes_masks_and_names():
    result = run("colors.engine", "images", "-o", "out.csv", "--overlays", "overlays", "--no-legend")
    assert result.exit_code == 0, result.output
    with Image.open("overlays/2.jpg") as image:
        assert image.size == (64, 40)  # the image's own size; the model's input has 32 x 20 pixels
        values = np.asarray(image).astype(int)
    with Image.open("images/2.png") as image:
        plain = np.asarray(image).astype(int)
    inside, outside = (slice(24, 32), slice(8, 20)), (slice(28, 36), slice(48, 60))
    assert np.abs(values[inside] - plain[inside]).mean() > 15  # 0.45 of the difference in red
    assert np.abs(values[outside] - plain[outside]).mean() < 20


def test_objects_below_the_picture_threshold_are_in_rows_but_not_in_overlays():
    for threshold, drawn in (("0.25", True), ("0.95", False)):
        folder = Path(f"overlays{threshold}")
        given = ("--overlays", folder, "--picture-threshold", threshold, "--no-legend")
        assert run("colors.engine", "images", "-o", f"{threshold}.csv", *given).exit_code == 0
        assert [row["count"] for row in csv_rows(f"{threshold}.csv")] == ["2", "2", "1"]
        with Image.open(folder / "2.jpg") as image, Image.open("images/2.png") as original:
            change = np.abs(np.asarray(image).astype(int) - np.asarray(original)).mean()
        assert (change > 10) == drawn


def test_an_image_without_objects_and_a_damaged_image():
    with_rectangles(Path("more", "a.png"), (30, 30), {})
    Path("more", "b.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    result = run("colors.engine", "more", "-o", "out.csv", "--coco", "found.json", "--overlays", "overlays")
    assert result.exit_code == 1
    first, second = csv_rows("out.csv")
    assert (first["status"], first["count"], first["objects"]) == ("ok", "0", "[]")
    assert (second["status"], second["count"]) == ("error", "")
    assert json.loads(Path("found.json").read_text()) == []
    assert Path("overlays", "a.jpg").is_file()


def test_an_image_thinner_than_a_pixel_of_the_model_input():
    with_rectangles(Path("thin", "a.png"), (2000, 3), {0: (100, 0, 900, 3)})
    assert run("colors.engine", "thin", "-o", "out.csv", "--coco", "found.json").exit_code == 0
    (row,) = csv_rows("out.csv")
    (found,) = json.loads(row["objects"])
    np.testing.assert_allclose(found["box"], [100, 0, 900, 3], atol=2000 / 32)


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet"])
def test_rows_are_read_back_unchanged(name):
    """A resumed run uses the rows of the interrupted one."""
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    from vim_deploy.results import format_of, read_rows
    from vim_deploy.tasks.detect.columns import ObjectColumns

    assert run("colors.engine", "images", "-o", name, "--coco", "found.json").exit_code == 0
    rows = list(read_rows(Path(name), format_of(Path(name), None), ObjectColumns()))
    results = json.loads(Path("found.json").read_text())
    masks = [entry["segmentation"]["counts"] for entry in results]
    assert [found.rle for row in rows for found in row.result] == masks
    assert rows[0].result[0].box == pytest.approx((2, 4, 12, 20))


def test_a_resumed_run_has_every_object_once():
    count = 60
    for index in range(count):
        with_rectangles(Path("many", f"{index:03d}.png"), (32, 32), {0: (index % 9, 3, 12 + index % 9, 20)})
    command = ("colors.engine", "many", "-o", "out.csv", "--coco", "found.json", "--workers", "1")
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
        pytest.skip("the run finished before it could be killed")
    result = run(*command, "--resume")
    assert result.exit_code == 0, result.output
    found = json.loads(Path("found.json").read_text())
    assert sorted(entry["image_id"] for entry in found) == list(range(count))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found.update(index=7), "has the class index 7"),
        (lambda found: found.update(rle=None), "has an object without a mask"),
    ],
)
def test_edited_rows_of_an_interrupted_run_are_refused(change, message):
    Path("images", "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    given = ("colors.engine", "images", "-o", "out.jsonl", "--coco", "found.json")
    assert run(*given, "--max-failures", "0").exit_code == 3
    partial = Path("out.jsonl.partial")
    rows = json_rows(partial)
    change(rows[0]["objects"][0])
    partial.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = run(*given, "--resume")
    assert result.exit_code in (2, 3)
    assert message in " ".join(result.output.split())


def test_a_run_is_not_resumed_with_another_threshold_or_without_masks():
    Path("images", "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    given = ("colors.engine", "images", "-o", "out.csv")
    assert run(*given, "--coco", "found.json", "--max-failures", "0").exit_code == 3
    assert run(*given, "--resume").exit_code == 2
    assert run(*given, "--resume", "--coco", "found.json", "--score-threshold", "0.5").exit_code == 2
    assert run(*given, "--resume", "--coco", "found.json").exit_code == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "annotations.json is empty; expected COCO's format"),
        ("{", "annotations.json is not JSON"),
        ("[]", "contains a list"),
        ('{"images": [], "annotations": [], "categories": []}', "has no images: the list is empty"),
        ('{"images": [{"id": 1, "file_name": "a"}], "categories": []}', "annotations: the list is missing"),
        ('{"images": [{"id": 1}]}', "images[0] has no 'file_name'"),
    ],
)
def test_invalid_annotations_are_refused_before_the_first_row(content, message):
    Path("annotations.json").write_text(content)
    result = run("colors.engine", "images", "-o", "out.csv", "--annotations", "annotations.json")
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert not Path("out.csv").exists()


def test_annotations_with_unknown_categories_are_refused():
    given = ("colors.engine", "images", "-o", "out.csv", "--annotations", "annotations.json")
    foreign = [{"id": 11, "name": "cat"}, {"id": 12, "name": "green"}, {"id": 13, "name": "blue"}]
    annotations(Path("annotations.json"), SCENES, categories=foreign)
    result = run(*given)
    assert result.exit_code == 2
    assert (
        "annotations of cat, which are not classes of the model; its classes are red, green, blue"
        in " ".join(result.output.split())
    )
    annotations(Path("annotations.json"), SCENES, categories=foreign[1:])
    assert "categories 11, which are not in its list of categories" in " ".join(run(*given).output.split())


@pytest.mark.parametrize("box", [[1, 2, 3], "1 2 3 4", [1, 2, 3, None], [0, 0, float("inf"), 1]])
def test_annotations_with_invalid_boxes_are_refused(box):
    annotations(Path("annotations.json"), SCENES)
    content = json.loads(Path("annotations.json").read_text())
    content["annotations"][1]["bbox"] = box
    Path("annotations.json").write_text(json.dumps(content))
    result = run("colors.engine", "images", "-o", "out.csv", "--annotations", "annotations.json")
    assert result.exit_code == 2
    assert "annotations[1] has the bbox" in " ".join(result.output.split())


def test_annotations_of_other_images_are_an_error_and_rows_are_kept():
    annotations(Path("annotations.json"), {"other.png": SCENES["1.png"]})
    given = ("colors.engine", "images", "-o", "out.csv", "--annotations")
    result = run(*given, "annotations.json")
    assert result.exit_code == 3
    assert "this run has none of its 1 image (other.png, ...)" in " ".join(result.output.split())
    annotations(Path("annotations.json"), SCENES)
    assert run(*given, "annotations.json", "--resume").exit_code == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": {}}, "has num_classes None"),
        ({"config": {"head": {"num_classes": "3", "score_threshold": 0.05}}}, "has num_classes '3'"),
        ({"config": {"head": {"num_classes": 3, "score_threshold": "low"}}}, "score threshold 'low'"),
        ({"class_names": ("red", "green")}, "3 classes but 2 class names"),
    ],
)
def test_invalid_classes_or_threshold_in_the_metadata_are_refused(changes, message):
    with pytest.raises(EngineError, match=message):
        save_and_build(color_detector(**changes), "edited.onnx", "edited.engine")


def test_outputs_with_an_unknown_class_are_refused():
    names = ("red", "green")
    head = {"num_classes": 2, "score_threshold": 0.05}
    save(color_detector(class_names=names, config={"head": head}), Path("two.onnx"))
    build_engine("two.onnx", "two.engine")
    result = run("two.engine", "images/2.png", "-o", "out.csv")
    assert result.exit_code == 2
    assert "classes from 0 to 1" in " ".join(result.output.split())


def test_predict_returns_objects_and_masks():
    with load("colors.engine") as engine, Image.open("images/1.png") as image:
        (found,) = engine.predict(image)
    assert list(found.labels) == ["red", "green"]
    assert found.value.masks.shape == (2, 28, 28)
    assert found.objects[0].box == pytest.approx((2, 4, 12, 20))


def test_the_report_shows_the_best_classes():
    assert run("colors.engine", "images", "-o", "out.csv", "--report", "page.html").exit_code == 0
    assert '["green", 0.6]' in Path("page.html").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--score-threshold", "0.01"), "expected 0.05 or more"),
        (("--picture-threshold", "0.5"), "--picture-threshold: only valid with --overlays or --report"),
        (("--no-legend",), "--no-legend is only valid with --overlays"),
        (("--maps", "maps"), "--maps: only for models of the task segment"),
        (("--coco", "nowhere/found.json"), "cannot be written"),
        (("--coco", "out.csv"), "is also the path of -o"),
        (("--coco", "colors.engine"), "is an input of this run"),
        (("--coco", "images/1.png"), "exists and is not COCO results of vim-infer"),
        (("--annotations", "missing.json"), "cannot be read"),
        (("--overlays", "images/overlays"), "is inside the input folder"),
        (("--batch-size", "2"), "fixed to batches of 1"),
    ],
)
def test_invalid_options_are_refused_before_the_first_row(options, message):
    result = run("colors.engine", "images", "-o", "out.csv", *options)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert not Path("out.csv").exists()


def test_options_of_detection_are_refused_for_a_classifier():
    make_engine("classes.engine")
    result = run("classes.engine", "images", "-o", "out.csv", "--coco", "found.json")
    assert result.exit_code == 2
    assert "--coco: only for models of the task detect" in " ".join(result.output.split())
