"""The report: its contents, untrusted text in it, and its behaviour in a browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from infer_command import make_engine, run
from PIL import Image

HOSTILE = "</script><img src=x onerror=document.title='taken'>.png"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch) -> Path:
    """A labelled folder: 3 images of each colour, one of them wrong, one damaged, one with a hostile name."""
    monkeypatch.chdir(tmp_path)
    make_engine()
    for colour in ("red", "green", "blue"):
        Path("images", colour).mkdir(parents=True)
        for index in range(3):
            Image.new("RGB", (30, 20), colour).save(f"images/{colour}/{index}.png")
    Image.new("RGB", (30, 20), "blue").save("images/red/wrong.png")
    Path("images/green/bad.png").write_text("text")
    Path("images/blue", HOSTILE.replace("/", "_")).write_bytes(Path("images/blue/0.png").read_bytes())
    return tmp_path


def data_in(page: str) -> dict[str, Any]:
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert match
    return json.loads(match.group(1))


@pytest.mark.parametrize("output", ["out.csv", "out.jsonl", "out.parquet"])
def test_the_report_has_the_statistics_of_the_run(output):
    if output.endswith("parquet"):
        pytest.importorskip("pyarrow")
    result = run("colours.engine", "images", "-o", output, "--report", "report.html")
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
    assert [row["thumbnail"] is None for row in data["rows"]] == [
        row["status"] == "error" for row in data["rows"]
    ]
    assert data["rows"][0]["thumbnail"].startswith("data:image/jpeg;base64,")


def test_the_page_is_self_contained_and_escapes_data():
    run("colours.engine", "images", "-o", "out.csv", "--report", "report.html")
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
    result = run("colours.engine", "images", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not Path("out.csv").exists()


def test_large_runs_show_a_sample(monkeypatch):
    from vim_deploy.report import statistics
    from vim_deploy.results import Row
    from vim_deploy.tasks.classify.columns import ScoreColumns

    monkeypatch.setattr(statistics, "MAX_OTHERS", 20)
    monkeypatch.setattr(statistics, "MAX_FAILURES", 5)
    rows = [Row(f"{index:04d}", "error" if index % 10 == 0 else "ok") for index in range(1000)]
    found = statistics.ReportStatistics.of(rows, ScoreColumns(1))
    assert found.rows == 1000
    assert [row.path for row in found.sample if row.status == "error"] == [
        "0000",
        "0010",
        "0020",
        "0030",
        "0040",
    ]
    others = [row.path for row in found.sample if row.status == "ok"]
    assert len(others) == 20 and others == sorted(others) and others[-1] > "0500"


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

# Uses the page like a user and writes the results to its title.
CHECK = """
<script>
const results = [];
const count = () => document.querySelectorAll("#rows .row").length;
function choose(id, value) {
  const element = document.getElementById(id);
  element.value = value;
  element.dispatchEvent(new Event("input"));
}
results.push(count());
choose("filter", "error"); results.push(count());
choose("filter", "incorrect"); results.push(count(), document.querySelector("#rows .path").textContent);
choose("filter", "all"); choose("search", "BLUE/0"); results.push(count());
choose("search", ""); choose("sort", "uncertain");
results.push(document.querySelector("#rows .row").className);
choose("sort", "class"); results.push(document.querySelector("#rows .score span").textContent);
const number = selector => document.querySelectorAll(selector).length;
results.push(number("#confusion td"), number("#per-class tr"));
results.push([...document.images].every(image => image.src.startsWith("data:")));
document.title = "results " + JSON.stringify(results);
</script>
"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_page_in_a_real_browser(tmp_path):
    run("colours.engine", "images", "-o", "out.csv", "--report", "report.html")
    page = Path("report.html").read_text().replace("</body>", CHECK + "</body>")
    Path("checked.html").write_text(page)
    command = [BROWSER, "--headless", "--disable-gpu", "--no-sandbox", f"--user-data-dir={tmp_path}/browser"]
    command += ["--virtual-time-budget=3000", "--dump-dom", (tmp_path / "checked.html").as_uri()]
    environment = {**os.environ, "HOME": str(tmp_path)}
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    title = re.search(r"<title>(.*?)</title>", result.stdout, re.DOTALL)
    assert title, result.stderr[-2000:]
    assert title.group(1).startswith("results "), title.group(1)
    results = json.loads(title.group(1)[8:].replace("&lt;", "<").replace("&gt;", ">"))
    assert results == [12, 1, 1, "images/red/wrong.png", 1, "row ok", "blue", 12, 4, True]
