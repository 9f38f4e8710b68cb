"""The report: its contents, untrusted text in it, and its behavior in a browser."""

from __future__ import annotations

import dataclasses
import random
from datetime import datetime
from pathlib import Path

import pytest
from infer_command import make_engine, run
from PIL import Image
from report_page import data_in

from vim_deploy.package import VERSION
from vim_deploy.report import sample as sample_module
from vim_deploy.report.sample import Sample, SampleSize, Shown
from vim_deploy.results import Row

HOSTILE = "</script><img src=x onerror=document.title='taken'>.png"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch) -> Path:
    """A labeled folder: 3 images of each color, one of them wrong, one damaged, one with a hostile name."""
    monkeypatch.chdir(tmp_path)
    make_engine()
    for color in ("red", "green", "blue"):
        Path("images", color).mkdir(parents=True)
        for index in range(3):
            Image.new("RGB", (30, 20), color).save(f"images/{color}/{index}.png")
    Image.new("RGB", (30, 20), "blue").save("images/red/wrong.png")
    Path("images/green/bad.png").write_text("text")
    Path("images/blue", HOSTILE.replace("/", "_")).write_bytes(Path("images/blue/0.png").read_bytes())
    return tmp_path


@pytest.mark.parametrize("output", ["out.csv", "out.jsonl", "out.parquet"])
def test_the_report_has_the_statistics_of_the_run(output):
    if output.endswith("parquet"):
        pytest.importorskip("pyarrow")
    result = run("colors.engine", "images", "-o", output, "--report", "report.html")
    assert result.exit_code == 1, result.output
    data = data_in(Path("report.html").read_text())
    assert (data["summary"]["images"], data["summary"]["failed"]) == (12, 1)
    statistics = data["statistics"]
    assert statistics["rows"] == 12
    assert dict(statistics["predicted"]) == {"red": 3, "green": 3, "blue": 5}
    assert statistics["per_class"] == [["blue", 4, 4, 4, 5], ["green", 3, 3, 3, 3], ["red", 4, 3, 4, 3]]
    assert statistics["confusion"] == {
        "names": ["blue", "green", "red"],
        "matrix": [[4, 0, 0], [0, 3, 0], [1, 0, 3]],
    }
    assert statistics["mistakes"] == [["red", "blue", 1]]
    assert [row["image"] is None for row in data["rows"]] == [
        row["status"] == "error" for row in data["rows"]
    ]
    assert data["rows"][0]["image"].startswith("data:image/jpeg;base64,")
    assert [row["path"] for row in data["rows"] if row["mistake"] is not None] == ["images/red/wrong.png"]


def test_the_page_is_self_contained_and_escapes_data():
    run("colors.engine", "images", "-o", "out.csv", "--report", "report.html")
    page = Path("report.html").read_text()
    assert "http://" not in page and "https://" not in page
    assert page.count("</script>") == 2
    assert "<img src=x" not in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--report", "r.html"), "give one with -o"),
        (("--report", "out.csv", "-o", "out.csv"), "is also the path of -o"),
        (("--report", "images/red/0.png", "-o", "out.csv"), "is not a report of vim-infer"),
        (("--report", "none/r.html", "-o", "out.csv"), "does not exist"),
    ],
)
def test_invalid_paths_are_errors_before_the_run(arguments, message):
    result = run("colors.engine", "images", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not Path("out.csv").exists()


def test_the_report_says_how_it_was_made():
    arguments = ("colors.engine", "images", "-o", "out.csv", "--report", "a report.html", "--top-k", "2")
    assert run(*arguments).exit_code == 1
    data = data_in(Path("a report.html").read_text())
    assert data["facts"]["vim-deploy"] == VERSION
    assert data["facts"]["command"] == (
        "vim-infer colors.engine images -o out.csv --report 'a report.html' --top-k 2"
    )
    assert datetime.fromisoformat(data["facts"]["date"]).tzinfo is not None
    assert data["facts"]["exported file"].startswith("colors.onnx, SHA-256 ")
    options = data["options"]
    assert (options["top-k"], options["max-pixels"], options["device"]) == ("2", "89478485", "default")


def test_mistakes_are_in_the_report_of_any_run():
    """Failures, the mistakes with the highest probability, and a random sample of the others."""
    sample = Sample(SampleSize(mistakes=10, others=20))
    drawn: list[str] = []
    for index in range(2000):
        row = Row(f"{index:04d}", "error" if index % 500 == 7 else "ok")
        mistake = index / 2000 if index % 100 == 50 else None
        if sample.add(Shown(index, row, mistake)):
            drawn.append(row.path)
    shown = sample.entries()
    paths = [entry.row.path for entry in shown]
    assert paths == sorted(paths)
    assert [entry.row.path for entry in shown if entry.row.status == "error"] == [
        "0007", "0507", "1007", "1507",
    ]  # fmt: skip
    mistakes = [entry.row.path for entry in shown if entry.mistake is not None]
    assert mistakes == [f"{index:04d}" for index in range(1050, 2000, 100)]
    others = {entry.row.path for entry in shown if entry.row.status == "ok" and entry.mistake is None}
    assert len(others) == 20 and min(others) < "0700" and max(others) > "1300"
    assert {*others, *mistakes} <= set(drawn) and len(drawn) < 300


def test_at_most_the_first_failures_are_kept(monkeypatch):
    monkeypatch.setattr(sample_module, "MAX_FAILURES", 3)
    sample = Sample(SampleSize(1, 1))
    for index in range(9):
        assert not sample.add(Shown(index, Row(str(index), "error"), None))
    assert [entry.row.path for entry in sample.entries()] == ["0", "1", "2"]


def test_the_sample_of_a_run_is_in_the_samples_of_its_parts():
    """Rows of parts come in any order, and twice if their actor was killed."""
    generator = random.Random(0)
    # Few different keys, so that many are equal.
    entries = [
        Shown(number, Row(f"{number % 40}", "ok"), generator.randrange(6) / 5 or None)
        for number in range(600)
    ]
    whole = Sample(SampleSize(mistakes=30, others=20))
    for entry in entries:
        whole.add(entry)
    wanted: set[int] = set()
    for first in range(3):
        part = entries[first::3]
        part += part[:90]
        generator.shuffle(part)
        sample = Sample(SampleSize(mistakes=30, others=20))
        wanted |= {entry.number for entry in part if sample.add(dataclasses.replace(entry))}
    shown = {entry.number for entry in whole.entries()}
    assert len(shown) == 50 and shown <= wanted and len(wanted) < 500
