"""The report in a headless browser: its behavior, and its layout at the widths of a phone and a desktop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, needs_browser
from infer_command import make_engine, run
from PIL import Image
from small_detector import annotations, color_detector, with_rectangles
from small_engines import save_and_build
from small_onnx import color_model
from small_segmenter import color_segmenter, save_map, striped

pytestmark = needs_browser
WIDTHS = (360, 1280)
LONG = "a_very_long_name_without_any_space_" * 4
HOSTILE = "<img src=x onerror=document.title='taken'>"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def browser(tmp_path_factory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def labeled() -> None:
    """3 images of each color, one of them wrong, one damaged, names that are long or look like HTML."""
    make_engine()
    for color in ("red", "green", "blue"):
        Path("images", color).mkdir(parents=True)
        for index in range(3):
            Image.new("RGB", (300, 20), color).save(f"images/{color}/{index}.png")
    Image.new("RGB", (30, 200), "blue").save("images/red/wrong.png")
    Path("images/green/bad.png").write_text("text")
    for name in (LONG, HOSTILE):
        Path("images/blue", f"{name}.png").write_bytes(Path("images/blue/0.png").read_bytes())
    run("colors.engine", "images", "-o", "out.csv", "--report", "report.html")


def segmented() -> None:
    names = ("background", LONG, HOSTILE)
    save_and_build(color_segmenter(class_names=names), "colors.onnx", "colors.engine")
    for name, size in (("wide", (400, 60)), ("small", (9, 7)), ("tall", (40, 300))):
        save_map(Path(f"truth/{name}.png"), striped(Path(f"images/{name}.png"), *size))
    run("colors.engine", "images", "-o", "out.csv", "--ground-truth", "truth", "--report", "report.html")


def detected() -> None:
    pytest.importorskip("pycocotools", reason="pycocotools (extra detect) is not installed")
    save_and_build(color_detector(), "colors.onnx", "colors.engine")
    scenes = {"1.png": ((32, 32), {0: (2, 4, 12, 20)}), "2.png": ((64, 40), {2: (30, 2, 60, 20)})}
    for name, (size, boxes) in scenes.items():
        with_rectangles(Path("images", name), size, boxes)
    annotations(Path("truth.json"), scenes)
    run("colors.engine", "images", "-o", "out.csv", "--annotations", "truth.json", "--report", "report.html")


@pytest.mark.parametrize("make", [labeled, segmented, detected])
def test_nothing_overflows_and_the_console_is_empty(make, browser):
    make()
    for width in WIDTHS:
        browser.open(Path("report.html"), width)
        assert browser.overflowing() == []
        browser.evaluate("document.querySelector('.picture').click()")
        assert browser.evaluate("document.querySelector('dialog').open")
        assert browser.overflowing() == []
        assert browser.problems() == []
        assert browser.evaluate("document.title") == "vim-infer report"
        # Every bar is beside its number.
        assert browser.evaluate(
            "[...document.querySelectorAll('.meter')].every(item => /[0-9] %/.test(item.textContent))"
        )


def test_labeled_images_are_filtered_sorted_and_searched(browser):
    labeled()
    browser.open(Path("report.html"), 1280)

    def choose(name: str, value: str) -> None:
        browser.evaluate(
            f"(() => {{ const element = document.getElementById({name!r}); element.value = {value!r};"
            "element.dispatchEvent(new Event('input')); })()"
        )

    def paths() -> list[str]:
        found: list[str] = browser.evaluate(
            "[...document.querySelectorAll('#rows .path')].map(e => e.textContent)"
        )
        return found

    assert len(paths()) == 13
    assert paths()[:2] == ["images/red/wrong.png", "images/green/bad.png"]  # the mistake, then the failure
    choose("filter", "error")
    assert paths() == ["images/green/bad.png"]
    choose("filter", "incorrect")
    assert paths() == ["images/red/wrong.png"]
    choose("filter", "all")
    choose("search", "BLUE/0")
    assert paths() == ["images/blue/0.png"]
    choose("search", "")
    choose("sort", "order")
    assert paths() == sorted(paths())
    assert browser.evaluate("document.querySelectorAll('#confusion td').length") == 12
    assert browser.evaluate("document.querySelectorAll('#per-class tbody tr').length") == 3


def test_an_image_and_its_drawing_are_side_by_side_with_a_legend(browser):
    segmented()
    for width, columns in ((360, 1), (1280, 2)):
        browser.open(Path("report.html"), width)
        browser.evaluate("document.querySelector('.picture').click()")
        images = browser.evaluate(
            "[...document.querySelectorAll('dialog img')].map(image => [image.naturalWidth,"
            " image.naturalHeight, Math.round(image.getBoundingClientRect().left)])"
        )
        assert len(images) == 2 and images[0][:2] == images[1][:2]
        assert len({left for _, _, left in images}) == columns
        legend = browser.evaluate(
            "[...document.querySelectorAll('dialog .legend > span')].map(e => e.textContent)"
        )
        assert set(legend) == {LONG, HOSTILE}  # the background has no color
        first = browser.evaluate("document.getElementById('viewer-path').textContent")
        browser.evaluate("document.getElementById('next').click()")
        assert browser.evaluate("document.getElementById('viewer-path').textContent") != first


def test_tables_of_each_task(browser):
    segmented()
    browser.open(Path("report.html"), 1280)
    tiles = browser.evaluate("document.getElementById('tiles').textContent")
    assert "mIoU" in tiles and "pixel accuracy" in tiles
    head = browser.evaluate("[...document.querySelectorAll('#tables th')].map(e => e.textContent)")
    assert head == ["class", "images", "area", "IoU", "accuracy"]


def test_tables_of_detection(browser):
    detected()
    browser.open(Path("report.html"), 1280)
    assert "AP of boxes" in browser.evaluate("document.getElementById('tiles').textContent")
    head = browser.evaluate("[...document.querySelectorAll('#tables h2')].map(e => e.textContent)")
    assert head == [
        "Average precision over 2 of 2 annotated images",
        "Average precision by class",
        "Objects by class",
    ]
    browser.evaluate("document.querySelector('.picture').click()")
    assert browser.evaluate("document.querySelector('dialog td').textContent") == "red"


def test_rows_of_an_interrupted_run_have_no_drawing(browser):
    save_and_build(color_segmenter(), "colors.onnx", "colors.engine")
    striped(Path("images/a.png"))
    Path("images/b.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    striped(Path("images/c.png"))
    given = ("colors.engine", "images", "-o", "out.csv", "--report", "report.html")
    assert run(*given, "--max-failures", "0").exit_code == 3
    striped(Path("images/b.png"))
    assert run(*given, "--resume").exit_code in (0, 1)
    browser.open(Path("report.html"), 1280)
    browser.evaluate("document.querySelector(\"[aria-label='enlarge images/a.png']\").click()")
    assert browser.evaluate("document.querySelectorAll('dialog img').length") == 1
    assert "made before the run was resumed" in browser.evaluate(
        "document.getElementById('viewer-note').textContent"
    )
    browser.evaluate("document.querySelector(\"[aria-label='enlarge images/c.png']\").click()")
    assert browser.evaluate("document.querySelectorAll('dialog img').length") == 2


def test_features_have_a_report_too(browser):
    save_and_build(color_model(task="features"), "features.onnx", "features.engine")
    Path("images").mkdir()
    Image.new("RGB", (9, 9), "red").save("images/a.png")
    assert run("features.engine", "images", "-o", "out.jsonl", "--report", "report.html").exit_code == 0
    for width in WIDTHS:
        browser.open(Path("report.html"), width)
        assert browser.overflowing() == []
        browser.evaluate("document.querySelector('.picture').click()")
        assert browser.evaluate("document.querySelectorAll('dialog img').length") == 1
        assert browser.problems() == []
