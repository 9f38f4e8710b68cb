"""vim-infer stopped by signals at random times and resumed; its report; shards; watched folders."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from infer_command import csv_rows, json_rows, make_engine, make_images, run, start
from PIL import Image

COUNT = 900


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_engine()
    return tmp_path


def paths_in(output: str) -> list[str]:
    if output.endswith(".parquet"):
        return pytest.importorskip("pyarrow.parquet").read_table(output).column("path").to_pylist()
    return [row["path"] for row in (csv_rows if output.endswith(".csv") else json_rows)(output)]


def changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


@pytest.mark.parametrize(("output", "seed"), [("out.csv", 1), ("out.jsonl", 2), ("out.parquet", 3)])
def test_every_kind_of_stop_and_resume(output, seed):
    expected = make_images("images", COUNT)
    generator = random.Random(seed)
    codes: list[int] = []
    record = Path(f"{output}.run.json")
    whole = _seconds_of_a_run(output)
    for attempt in range(30):
        before = changed(record)
        process = start("colors.engine", "images", "-o", output, "--batch-size", 1, "--resume")
        number = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)[attempt % 3]
        if attempt < 6:
            # Before the run has started, signals have their default action.
            while process.poll() is None and changed(record) == before:
                time.sleep(0.01)
            # At least two stops before the end, also on fast machines.
            time.sleep(generator.uniform(0, 0.4 * whole))
            process.send_signal(number)
        errors = process.communicate(timeout=120)[1].decode()
        codes.append(process.returncode)
        assert "Traceback" not in errors
        if Path(output).exists():
            # The run was complete; the signal arrived while the program was exiting.
            assert process.returncode in (0, -number, 128 + number), errors
            break
        assert process.returncode == (-9 if number == signal.SIGKILL else 3), errors
    assert paths_in(output) == expected
    assert len(codes) >= 3, codes
    assert sorted(path.name for path in Path().glob("out*")) == [output]


def _seconds_of_a_run(output: str) -> float:
    """Duration of an uninterrupted run from its first record to its end; removes its output."""
    record = Path(f"{output}.run.json")
    process = start("colors.engine", "images", "-o", output, "--batch-size", 1)
    while process.poll() is None and not record.exists():
        time.sleep(0.01)
    began = time.perf_counter()
    assert process.wait(120) == 0
    seconds = time.perf_counter() - began
    Path(output).unlink()
    return seconds


def test_resume_after_the_folder_changed():
    make_images("images", 40)
    Path("images/!bad.png").write_text("text")
    assert run("colors.engine", "images", "-o", "out.csv", "--max-failures", 0).exit_code == 3
    stopped = len(csv_rows("out.csv.partial"))
    assert stopped == 1
    Path("images/!bad.png").unlink()
    Image.new("RGB", (4, 4), "red").save("images/!a-new-one.png")
    result = run("colors.engine", "images", "-o", "out.csv", "--resume")
    assert result.exit_code == 1
    paths = paths_in("out.csv")
    assert paths[:2] == ["images/!bad.png", "images/!a-new-one.png"]
    assert len(paths) == len(set(paths)) == 42


def test_resume_needs_the_same_run():
    make_images("images", 5)
    Path("images/!bad.png").write_text("text")
    assert run("colors.engine", "images", "-o", "out.csv", "--max-failures", 0).exit_code == 3
    for change in (("--top-k", 2), ("--max-pixels", 99), ("--labels", "none"), ("--shard", "1/2")):
        result = run("colors.engine", "images", "-o", "out.csv", "--resume", *change)
        assert result.exit_code == 2
        assert "belongs to another run" in result.stderr
    assert run("colors.engine", "images", "-o", "out.csv").exit_code == 2
    assert len(csv_rows("out.csv.partial")) == 1
    assert run("colors.engine", "images", "-o", "out.csv", "--restart").exit_code == 1
    assert len(csv_rows("out.csv")) == 6


def test_a_resumed_run_counts_the_earlier_rows():
    import json

    for color in ("red", "green", "blue"):
        Path("images", color).mkdir(parents=True)
        for index in range(3):
            Image.new("RGB", (4, 4), color).save(f"images/{color}/{index}.png")
    Path("images/green/0.png").write_text("text")
    assert run("colors.engine", "images", "-o", "out.csv", "--max-failures", 0).exit_code == 3
    result = run("colors.engine", "images", "-o", "out.csv", "--resume", "--json", "--quiet")
    summary = json.loads(result.stdout)
    assert (summary["images"], summary["resumed"], summary["failed"], summary["labeled"]) == (9, 4, 1, 8)
    assert summary["top1_accuracy"] == 1


@pytest.mark.parametrize("count", [1, 2, 5])
def test_shards_cover_the_run_without_overlap(count):
    paths = make_images("images", 60)
    assert run("colors.engine", "images", "-o", "whole.csv").exit_code == 0
    whole = Path("whole.csv").read_text().splitlines()
    lines = []
    for index in range(1, count + 1):
        for name in (f"{index}.csv", "again.csv"):
            assert run("colors.engine", "images", "-o", name, "--shard", f"{index}/{count}").exit_code == 0
        assert Path("again.csv").read_text() == Path(f"{index}.csv").read_text()
        lines += Path(f"{index}.csv").read_text().splitlines()[1:]
        assert 0 < len(csv_rows(f"{index}.csv")) <= len(paths)
    assert sorted(lines) == sorted(whole[1:])


def test_new_files_in_a_watched_folder_are_processed():
    make_images("images", 3)
    process = start("colors.engine", "images", "-o", "out.csv", "--watch", "--idle", 4)
    partial = Path("out.csv.partial")
    deadline = time.monotonic() + 60
    while not partial.exists() or len(partial.read_text().splitlines()) < 4:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    # Rows are written while the run waits; a growing file is not read before it is complete.
    data = Path("images/00000.png").read_bytes()
    with Path("images/late.png").open("wb") as file:
        for byte in range(0, len(data), len(data) // 4):
            file.write(data[byte : byte + len(data) // 4])
            file.flush()
            time.sleep(0.4)
    assert process.wait(timeout=60) == 0
    rows = csv_rows("out.csv")
    assert [row["path"] for row in rows[3:]] == ["images/late.png"]
    assert rows[3]["status"] == "ok"


def test_watching_is_resumed_without_duplicates():
    make_images("images", 3)
    for expected in (3, 4):
        process = start("colors.engine", "images", "-o", "out.csv", "--watch", "--resume")
        partial = Path("out.csv.partial")
        deadline = time.monotonic() + 60
        while not partial.exists() or len(partial.read_text().splitlines()) <= expected:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 3
        Image.new("RGB", (3, 3), "red").save("images/late.png")
    assert [Path(row["path"]).stem for row in csv_rows(partial)] == ["00000", "00001", "00002", "late"]


@pytest.mark.parametrize("output", ["out.csv", "out.jsonl", "out.parquet"])
def test_an_interrupted_report_is_made_by_resuming(output, monkeypatch):
    make_images("images", 12)
    given = ("colors.engine", "images", "-o", output, "--report", "report.html")

    def interrupt(*arguments: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr("vim_deploy.report.report.read_pictures", interrupt)
        result = run(*given)
    assert result.exit_code == 3, result.output
    assert "has 12 rows; continue with --resume" in result.stderr
    assert not Path(output).exists() and not Path("report.html").exists()
    assert run(*given, "--resume").exit_code == 0
    assert paths_in(output) == sorted(paths_in(output)) and len(paths_in(output)) == 12
    assert Path("report.html").read_text().count("data:image/jpeg") == 12
    assert sorted(path.name for path in Path().glob("out*")) == [output]


def test_a_report_that_cannot_be_written_can_be_made_by_resuming():
    make_images("images", 4)
    given = ("colors.engine", "images", "-o", "out.csv", "--report", "report.html")
    Path("report.html").mkdir()
    result = run(*given)
    assert result.exit_code in (2, 3), result.output
    Path("report.html").rmdir()
    assert run(*given, "--resume").exit_code == 0
    assert Path("report.html").is_file() and len(paths_in("out.csv")) == 4


def test_kills_at_random_points_lose_no_report():
    make_images("images", 60)
    generator = random.Random(4)
    whole, finished = 1.0, 0
    for _ in range(12):
        began = time.perf_counter()
        process = start("colors.engine", "images", "-o", "out.csv", "--report", "report.html", "--resume")
        try:
            code = process.wait(generator.uniform(0.3, 1.0) * whole)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        if code == 0:
            whole = time.perf_counter() - began
            finished += 1
        else:
            whole *= 1.2
        if Path("out.csv").exists() and not Path("out.csv.run.json").exists():
            assert Path("report.html").is_file() and len(paths_in("out.csv")) == 60
            Path("out.csv").unlink()
            Path("report.html").unlink()
    assert (
        start("colors.engine", "images", "-o", "out.csv", "--report", "report.html", "--resume").wait() == 0
    )
    assert Path("report.html").is_file() and len(paths_in("out.csv")) == 60
    assert sorted(path.name for path in Path().iterdir() if path.suffix in (".tmp", ".partial")) == []
