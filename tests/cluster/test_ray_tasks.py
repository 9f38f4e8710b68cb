"""vim-infer --ray with segmenters, detectors and features: their files and reports, also in storage."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import s3_server
from cluster_command import run
from infer_command import make_engine, make_images
from PIL import Image
from report_page import data_in
from small_detector import annotations, color_detector, with_rectangles
from small_engines import save_and_build
from small_onnx import color_model
from small_segmenter import color_segmenter, save_map, striped

from vim_deploy.report.sample import WITH_DRAWINGS

pytestmark = pytest.mark.slow
# More images than the report shows, half of them with a mistake.
IMAGES = 2 * (WITH_DRAWINGS.mistakes + 15)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


def report_of(path: str) -> dict[str, Any]:
    """What a report shows, without the facts that differ between two runs of the same images."""
    data = data_in(Path(path).read_text())
    for part, names in (
        ("summary", ("seconds", "images_per_second")),
        ("facts", ("date", "command", "results")),
        ("options", ("output", "report", "threads")),
    ):
        for name in names:
            data[part].pop(name)
    return data


def drawn(report: dict[str, Any]) -> int:
    return sum(row["drawing"] is not None for row in report["rows"])


def test_label_maps_areas_and_report_of_a_segmenter(cluster):
    save_and_build(color_segmenter(), "segmenter.onnx", "segmenter.engine")
    generator = np.random.default_rng(0)
    for number in range(IMAGES):
        true = striped(Path(f"scenes/{number:03d}.png"), 60 + number % 3, 30)
        if number % 2:
            true[generator.integers(30) :] = 1
        save_map(Path(f"truth/{number:03d}.png"), true)
    Path("scenes/damaged.png").write_bytes(b"\x89PNG\r\n\x1a\nnot more")
    folder = s3_server.upload("scenes", "ray-scenes")
    given = ("segmenter.engine", folder, "--scale", "none", "--ground-truth", "truth")
    local = ("--maps", "maps", "--areas", "areas.csv", "--report", "plain.html")
    assert run(*given, "-o", "plain.jsonl", *local).returncode == 1
    stored = ("--maps", f"{folder}-maps", "--areas", f"{folder}-areas.csv", "--report", "ray.html")
    result = run(
        *(*given, "-o", "rows.jsonl", *stored, "--ray", cluster.address, "--actors", 2),
    )
    assert result.returncode == 1, result.stderr
    assert Path("rows.jsonl").read_bytes() == Path("plain.jsonl").read_bytes()
    assert len(s3_server.names("ray-scenes-maps")) == IMAGES
    for number in range(0, IMAGES, 30):
        expected = Path(f"maps/{number:03d}.png").read_bytes()
        assert s3_server.content(f"{folder}-maps/{number:03d}.png") == expected
    assert s3_server.content(f"{folder}-areas.csv") == Path("areas.csv").read_bytes()
    plain, found = report_of("plain.html"), report_of("ray.html")
    for report in (plain, found):
        del report["options"]["maps"], report["options"]["areas"]
    assert found == plain
    assert WITH_DRAWINGS.mistakes < drawn(found) < IMAGES


def test_coco_results_precision_and_report_of_a_detector(cluster):
    pytest.importorskip("pycocotools", reason="needs pycocotools (extra: detect)")
    save_and_build(color_detector(), "detector.onnx", "detector.engine")
    scenes = {}
    for number in range(IMAGES):
        boxes = {0: (2, 4, 12, 20), 1: (16, 6, 30, 18)}
        with_rectangles(Path(f"scenes/{number}.png"), (32, 32), boxes)
        scenes[f"{number}.png"] = (32, 32), {2: (0, 0, 4 + number % 7, 5)} if number % 2 else boxes
    annotations(Path("annotations.json"), scenes)
    folder = f"s3://{s3_server.BUCKET}/ray-objects"
    given = ("detector.engine", "scenes", "--annotations", "annotations.json")
    plain_files = ("-o", "plain.jsonl", "--coco", "plain.json", "--report", "plain.html")
    plain = run(*given, *plain_files, "--json")
    assert plain.returncode == 0, plain.stderr
    ray_files = ("-o", f"{folder}.jsonl", "--coco", f"{folder}.json", "--report", f"{folder}.html")
    result = run(*given, *ray_files, "--json", "--ray", cluster.address, "--actors", 2)
    assert result.returncode == 0, result.stderr
    assert s3_server.content(f"{folder}.jsonl") == Path("plain.jsonl").read_bytes()
    assert s3_server.content(f"{folder}.json") == Path("plain.json").read_bytes()
    precision = [json.loads(text)["average_precision"] for text in (plain.stdout, result.stdout)]
    assert precision[0] == precision[1]
    Path("ray.html").write_bytes(s3_server.content(f"{folder}.html"))
    one, many = report_of("plain.html"), report_of("ray.html")
    for report in (one, many):
        del report["options"]["coco"]
    assert many == one
    assert WITH_DRAWINGS.mistakes < drawn(many) < IMAGES


def test_accuracy_from_labels_in_shards_in_storage(cluster):
    make_engine()
    photos, contents = make_images("photos", 30), []
    Path("shards").mkdir()
    with tarfile.open("shards/a.tar", "w") as archive:
        for number, photo in enumerate(photos):
            contents.append(Path(photo).read_bytes())
            archive.add(photo, f"{number}.png")
            label = b"0" if number % 5 else b"no class"
            entry = tarfile.TarInfo(f"{number}.cls")
            entry.size = len(label)
            archive.addfile(entry, io.BytesIO(label))
    table = pyarrow.table({"image": contents, "label": [1, None, 2] * 10})
    pyarrow.parquet.write_table(table, "shards/b.parquet", row_group_size=7)
    folder = s3_server.upload("shards", "ray-shards")
    given = ("colors.engine", folder, "--labels", "shards", "--json")
    plain = run(*given, "-o", "plain.jsonl")
    found = run(*given, "-o", f"{folder}.jsonl", "--ray", cluster.address, "--actors", 2)
    assert (plain.returncode, found.returncode) == (0, 0), found.stderr
    assert s3_server.content(f"{folder}.jsonl") == Path("plain.jsonl").read_bytes()
    names = ("labeled", "labels_missing", "labels_invalid", "top1_accuracy")
    one, many = ([json.loads(text)[name] for name in names] for text in (plain.stdout, found.stdout))
    assert one == many == [24 + 20, 10, 6, (8 + 10) / 44]


def test_arrays_of_features_in_storage(cluster):
    save_and_build(color_model(task="features", class_names=None), "features.onnx", "features.engine")
    for number in range(20):
        Path("photos").mkdir(exist_ok=True)
        Image.new("RGB", (4, 3), (number, 0, 0)).save(f"photos/{number}.png")
    folder = s3_server.upload("photos", "ray-features")
    given = ("features.engine", folder)
    assert run(*given, "-o", "plain.jsonl", "--arrays", "arrays").returncode == 0
    result = run(
        *(*given, "-o", "rows.jsonl", "--arrays", f"{folder}-arrays", "--ray", cluster.address),
    )
    assert result.returncode == 0, result.stderr
    assert Path("rows.jsonl").read_bytes() == Path("plain.jsonl").read_bytes()
    for number in range(20):
        name = f"{number}.npy"
        assert s3_server.content(f"{folder}-arrays/{name}") == Path("arrays", name).read_bytes()
