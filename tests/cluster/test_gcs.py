"""vim-infer with inputs and outputs at gs://, against a server of the protocol of Google Cloud Storage."""

from __future__ import annotations

import io
from pathlib import Path

import gcs_server
import pytest
from infer_command import make_engine, make_images, run
from PIL import Image


@pytest.fixture(scope="module", autouse=True)
def server():
    yield from gcs_server.started()


def test_inputs_results_and_files_at_gs_urls(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_engine()
    make_images("photos/a", 5)
    make_images("photos/b", 4)
    Path("photos/b/damaged.png").write_bytes(b"\x89PNG\r\n\x1a\nnot more")
    Path("photos/notes.txt").write_text("no image")
    folder = gcs_server.upload("photos", "photos")
    assert run("colors.engine", folder, "-o", "plain.csv").exit_code == 1
    files = ("--overlays", f"{folder}-out/overlays", "--report", f"{folder}-out/report.html")
    result = run("colors.engine", folder, "-o", f"{folder}-out/rows.csv", *files)
    assert result.exit_code == 1, result.output
    rows = gcs_server.content(f"{folder}-out/rows.csv")
    assert rows == Path("plain.csv").read_bytes() and len(rows.splitlines()) == 11
    assert "1 file skipped" in result.stderr
    Image.open(io.BytesIO(gcs_server.content(f"{folder}-out/overlays/a/00002.jpg"))).verify()
    assert b"data:image/jpeg" in gcs_server.content(f"{folder}-out/report.html")
    again = run("colors.engine", folder, "-o", f"{folder}-out/new.csv", *files[:2])
    assert again.exit_code == 2 and "exists; give another folder" in again.stderr
    glob = run("colors.engine", f"{folder}/*/00001.png", "-o", f"{folder}-out/rows.csv")
    assert glob.exit_code == 0 and gcs_server.content(f"{folder}-out/rows.csv").count(b"00001.png") == 2
    missing = run("colors.engine", f"{folder}/none.png")
    assert missing.exit_code == 2 and "does not exist" in missing.stderr
