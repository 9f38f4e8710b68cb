"""vim-infer --ray, on a cluster of two nodes and on a local cluster."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
import s3_server
from cluster_command import run, start
from infer_command import json_rows, make_engine, make_images

pytestmark = pytest.mark.slow
IMAGES = 120


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch) -> Path:
    """A folder with an engine and images, some of which are damaged."""
    monkeypatch.chdir(tmp_path)
    make_engine()
    paths = make_images("photos", IMAGES)
    for damaged in (3, 40, 41, 119):
        Path(paths[damaged]).write_bytes(b"\x89PNG\r\n\x1a\nnot more")
    return tmp_path


@pytest.mark.parametrize("output", ["rows.csv", "rows.jsonl"])
def test_rows_and_summary_are_those_of_one_machine(cluster, output):
    plain = run("colors.engine", "photos", "-o", f"plain-{output}", "--json")
    found = run(
        *("colors.engine", "photos", "-o", output, "--json", "--ray", cluster.address, "--actors", 2),
    )
    assert (plain.returncode, found.returncode) == (1, 1), found.stderr
    assert Path(output).read_bytes() == Path(f"plain-{output}").read_bytes()
    one, many = json.loads(plain.stdout), json.loads(found.stdout)
    for summary in (one, many):
        del summary["seconds"], summary["images_per_second"]
    assert one == many and many["failed"] == 4
    assert "Ray on 2 nodes: 2 actors with 2 CPUs" in found.stderr


def test_inputs_and_results_in_storage(cluster):
    folder = s3_server.upload("photos", "ray-photos")
    assert run("colors.engine", folder, "-o", "plain.jsonl").returncode == 1
    url = f"s3://{s3_server.BUCKET}/ray-rows.jsonl"
    result = run("colors.engine", folder, "-o", url, "--ray", cluster.address, "--actors", 2)
    assert result.returncode == 1, result.stderr
    assert s3_server.content(url) == Path("plain.jsonl").read_bytes()


def test_overlays_and_report(cluster):
    result = run(
        *("colors.engine", "photos", "-o", "rows.jsonl", "--overlays", "overlays"),
        *("--report", "report.html", "--ray", cluster.address),
    )
    assert result.returncode == 1, result.stderr
    assert len(list(Path("overlays").iterdir())) == IMAGES - 4
    assert b"data:image/jpeg" in Path("report.html").read_bytes()


def test_failure_limit_and_resume(cluster):
    again = ("colors.engine", "photos", "-o", "rows.jsonl", "--ray", cluster.address)
    stopped = run(*again, "--max-failures", 2)
    assert stopped.returncode == 3 and "more than --max-failures 2" in stopped.stderr
    resumed = run(*again, "--resume", "--json")
    assert resumed.returncode == 1 and json.loads(resumed.stdout)["resumed"] == 42
    assert run("colors.engine", "photos", "-o", "plain.jsonl").returncode == 1
    assert json_rows("rows.jsonl") == json_rows("plain.jsonl")


def test_user_errors(cluster):
    missing = run("colors.engine", "photos", "--ray", "127.0.0.2:1")
    assert missing.returncode == 2 and "127.0.0.2:1 cannot be reached" in missing.stderr
    watched = run("colors.engine", "photos", "--ray", "--watch")
    assert watched.returncode == 2 and "--watch is not valid with --ray" in watched.stderr
    without = run("colors.engine", "photos", "--actors", 2)
    assert without.returncode == 2 and "only valid with --ray" in without.stderr


def test_a_local_cluster_ends_with_the_run():
    pytest.importorskip("ray", reason="needs Ray (extra: ray): run make test-scale")
    process = start("colors.engine", "photos", "-o", "rows.jsonl", "--ray")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1, err
    assert len(json_rows("rows.jsonl")) == IMAGES
    assert not [line for line in _processes() if f"_{process.pid}/" in line]  # Ray's folder of the session


def test_a_killed_driver_is_resumed(tmp_path):
    pytest.importorskip("ray", reason="needs Ray (extra: ray): run make test-scale")
    paths = make_images("many", 3000)
    process = start("colors.engine", "many", "-o", "rows.jsonl", "--ray")
    deadline = time.monotonic() + 200
    partial = Path("rows.jsonl.partial")
    while not (partial.exists() and partial.stat().st_size > 1000):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    found = run("colors.engine", "many", "-o", "rows.jsonl", "--ray", "--resume", "--json")
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["resumed"] > 0
    assert [row["path"] for row in json_rows("rows.jsonl")] == paths


def _processes() -> list[str]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                continue
    return found
