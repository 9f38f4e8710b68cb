"""vim-infer with a segmentation model: label maps, overlays, areas, memory limits and invalid options."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from infer_command import csv_rows, json_rows, run, start
from onnx import helper, numpy_helper
from PIL import Image
from small_engines import save_and_build
from small_onnx import COLORS, color_model, save
from small_segmenter import CROP, color_segmenter, striped

from vim_deploy import load
from vim_deploy.data.bilinear import resize
from vim_deploy.engines.build import build_engine
from vim_deploy.tasks.palette import palette

OWN = ("--scale", "none")


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_and_build(color_segmenter(), "colors.onnx", "colors.engine")


def labels(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_label_maps_have_the_original_size_and_classes():
    true = {name: striped(Path("images", f"{name}.png"), *size) for name, size in
            {"wide": (70, 30), "small": (9, 7), "exact": (CROP, CROP)}.items()}  # fmt: skip
    result = run("colors.engine", "images", "-o", "out.csv", "--maps", "maps", "--overlays", "overlays",
                 "--no-legend", *OWN)  # fmt: skip
    assert result.exit_code == 0, result.output
    for name, expected in true.items():
        found = labels(f"maps/{name}.png")
        assert found.shape == expected.shape
        # Cells of four pixels blur the borders.
        inner = found == expected
        assert inner.mean() > 0.7
        with Image.open(f"maps/{name}.png") as image:
            assert image.mode == "P"
            assert image.getpalette()[:9] == palette(3).ravel().tolist()
        with Image.open(f"overlays/{name}.jpg") as image:
            assert image.size == expected.shape[::-1]
    rows = {Path(row["path"]).stem: row for row in csv_rows("out.csv")}
    assert list(rows["wide"])[:6] == ["path", "status", "reason", "width", "height", "flags"]
    classes = json.loads(rows["wide"]["classes"])
    assert {entry["class"] for entry in classes} == set(COLORS)
    assert sum(entry["pixels"] for entry in classes) == 70 * 30
    assert classes[0]["class"] == "red"
    assert classes[0]["share"] == pytest.approx(classes[0]["pixels"] / 2100)


def test_images_are_scaled_to_fit_and_maps_scaled_back():
    striped(Path("images/large.png"), 300, 100)
    result = run("colors.engine", "images", "-o", "out.csv", "--maps", "maps", "--overlays", "overlays")
    assert result.exit_code == 0, result.output
    assert labels("maps/large.png").shape == (100, 300)
    with Image.open("overlays/large.jpg") as image, Image.open("images/large.png") as original:
        # Scaled to 48 x 16 for the network; the overlay has the image's own size, and a legend below.
        assert image.width == 300 and image.height > 100
        inside = np.asarray(image.crop((20, 20, 130, 80))).astype(int)
        plain = np.asarray(original.crop((20, 20, 130, 80))).astype(int)
    blended = (plain + palette(3)[0]) / 2
    assert np.abs(inside - blended).max() < 8


def test_the_report_has_the_summary_lines():
    striped(Path("images/small.png"), 40, 30)
    result = run("colors.engine", "images", "-o", "out.csv", "--report", "report.html")
    assert result.exit_code == 0, result.stderr
    assert "largest classes: " in result.stderr
    assert '"lines": ["largest classes: ' in Path("report.html").read_text()


def test_label_maps_are_the_argmax_of_resized_logits():
    generator = np.random.default_rng(0)
    Path("images").mkdir()
    values = generator.integers(0, 256, (CROP, CROP, 3), dtype=np.uint8)
    Image.fromarray(values).save("images/noise.png")
    assert run("colors.engine", "images", "-o", "out.csv", "--maps", "maps", *OWN).exit_code == 0
    with load("colors.engine") as engine:
        pixels = engine.metadata.preprocessing.normalize(values)
        logits = engine.run(pixels[None])["logits"][0].transpose(1, 2, 0)
        (prediction,) = engine.predict("images/noise.png")
    expected = resize(logits, CROP, CROP).argmax(axis=-1)
    assert np.array_equal(labels("maps/noise.png"), expected)
    assert np.array_equal(prediction.labels, expected)


def test_tiles_and_batches_do_not_change_label_maps():
    striped(Path("images/tall.png"), 33, 700)
    for name, options in (("whole", ()), ("tiled", ("--tile",)), ("single", ("--batch-size", 1))):
        assert (
            run("colors.engine", "images", "-o", f"{name}.csv", "--maps", name, *OWN, *options).exit_code == 0
        )
    assert Path("whole/tall.png").read_bytes() == Path("tiled/tall.png").read_bytes()
    assert Path("whole/tall.png").read_bytes() == Path("single/tall.png").read_bytes()


def test_images_that_need_too_much_memory_are_error_rows():
    striped(Path("images/large.png"), 600, 900)
    striped(Path("images/small.png"))
    result = run("colors.engine", "images", "-o", "out.csv", "--maps", "maps", *OWN, "--max-memory", "2M")
    assert result.exit_code == 1
    large, small = csv_rows("out.csv")
    assert large["status"] == "error"
    assert "of memory, more than the limit of 2 MiB; --tile or a smaller" in large["reason"]
    assert small["status"] == "ok"
    assert not Path("maps/large.png").exists()
    assert "estimated memory" in run("colors.engine", "images", "-o", "o.csv").stderr


def test_two_images_of_one_name_do_not_replace_each_others_maps():
    striped(Path("images/a.png"))
    striped(Path("images/a.bmp"))
    result = run("colors.engine", "images", "-o", "o.csv", "--maps", "maps")
    assert result.exit_code == 1
    first, second = csv_rows("o.csv")
    assert first["status"] == "ok"
    assert f"would replace those of {first['path']}" in second["reason"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--maps", "images/maps"), "is inside the input folder images"),
        (("--ground-truth", "nowhere"), "--ground-truth nowhere is not a folder"),
        (("--scale", "big"), "'big' is not a scale"),
        (("--stride", 17), "--stride is 17; expected 1 to 16"),
        (("--max-memory", "much"), "'much' is not a size in memory"),
        (
            ("--ground-truth", "images", "--ignore", 1),
            "--ignore 1 is the ground-truth value of the class 'green'",
        ),
        (("--labels", "folder"), "--labels needs a model for classification"),
    ],
)
def test_invalid_options_are_refused_before_the_first_row(options, message):
    striped(Path("images/a.png"))
    result = run("colors.engine", "images", "-o", "o.csv", *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not Path("o.csv").exists()
    assert not list(Path().glob("o.csv.*"))


def test_options_of_segmentation_are_refused_for_a_classifier():
    striped(Path("images/a.png"))
    save_and_build(color_model(), "c.onnx", "classes.engine")
    result = run("classes.engine", "images", "-o", "o.csv", "--maps", "maps", "--tile")
    assert result.exit_code == 2
    assert "--maps, --tile: only for models of the task segment" in result.stderr


def test_nan_outputs_are_error_rows():
    model = color_segmenter()
    # sqrt(0.98 - mean): NaN for pure red, but not for the noise of the build's self-check.
    del model.graph.node[1:]
    model.graph.node.append(helper.make_node("Sub", ["limit", "mean"], ["rest"]))
    model.graph.node.append(helper.make_node("Sqrt", ["rest"], ["logits"]))
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array(0.98, np.float32), "limit"))
    striped(Path("images/a.png"))
    Image.new("RGB", (20, 20)).save("images/dark.png")
    build_engine(save(model, Path("nan.onnx")), "nan.engine")
    result = run("nan.engine", "images", "-o", "o.csv", "--maps", "maps")
    assert result.exit_code == 1
    bad, good = csv_rows("o.csv")
    assert bad["reason"] == "the model returned NaN or infinite logits"
    assert good["status"] == "ok"
    assert sorted(path.name for path in Path("maps").iterdir()) == ["dark.png"]


def test_every_row_of_a_killed_run_has_its_complete_label_map():
    for index in range(60):
        striped(Path(f"images/{index:03d}.png"), 120, 90)
    command = ("colors.engine", "images", "-o", "o.jsonl", "--maps", "maps", "--workers", 1)
    process = start(*command, "--quiet")
    partial = Path("o.jsonl.partial")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (partial.exists() and partial.stat().st_size > 2000):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    if partial.exists():
        for line in partial.read_bytes().split(b"\n")[:-1]:
            name = Path(json.loads(line)["path"]).stem
            assert labels(f"maps/{name}.png").shape == (90, 120)
        result = run(*command, "--resume", "--json")
    else:  # it finished before the kill
        result = run(*command, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["images"] == 60
    rows = json_rows("o.jsonl")
    assert len({row["path"] for row in rows}) == len(rows) == 60
    assert sorted(path.stem for path in Path("maps").glob("*.png")) == [f"{index:03d}" for index in range(60)]


def test_memory_is_estimated_before_the_first_image():
    striped(Path("images/a.png"))
    scaled = run("colors.engine", "images", "-o", "a.csv").stderr
    assert "estimated memory" in scaled
    assert "for images scaled to 64 x 16" in scaled
    own = run("colors.engine", "images", "-o", "b.csv", "--tile", "--max-memory", "2G", *OWN).stderr
    assert "for a square image of 10 megapixels" in own
    assert "images that need more than 2.0 GiB are refused" in own


def test_segmentation_works_without_pytorch():
    striped(Path("images/a.png"))
    code = (
        "import sys; sys.modules['torch'] = None; from vim_deploy.cli.infer import main; "
        "main(['colors.engine', 'images', '-o', 'o.csv', '--maps', 'maps', '--overlays', 'overlays'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Path("maps/a.png").exists()


@pytest.mark.parametrize("options", [(), OWN, (*OWN, "--tile")])
def test_extreme_proportions(options):
    Path("images").mkdir()
    sizes = {"thin": (3000, 1), "one": (1, 1), "tall": (2, 2999)}
    for name, size in sizes.items():
        Image.new("RGB", size, "blue").save(f"images/{name}.png")
    assert run("colors.engine", "images", "-o", "o.csv", "--maps", "maps", *options).exit_code == 0
    for row in csv_rows("o.csv"):
        found = labels(f"maps/{Path(row['path']).stem}.png")
        assert found.shape == sizes[Path(row["path"]).stem][::-1]
        assert (found == COLORS.index("blue")).all()
        assert row["flags"] == ("" if row["path"].endswith("one.png") and not options else "padded")


def test_the_report_shows_the_largest_classes():
    striped(Path("images/a.png"), 32, 32)
    result = run("colors.engine", "images", "-o", "o.csv", "--report", "report.html", *OWN)
    assert result.exit_code == 0, result.output
    page = Path("report.html").read_text()
    assert '"top": [["red", 0.5' in page
    assert '"green", 0.2' in page
