"""One row for every input, however damaged; errors for outputs that cannot be written."""

from __future__ import annotations

import io
import os
import resource
import signal
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from infer_command import csv_rows, json_rows, make_engine, make_images, run, start
from PIL import Image

from vim_deploy.results.escape import unescaped_path


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_engine()
    return tmp_path


def encoded(format: str, image: Image.Image | None = None, **options) -> bytes:
    file = io.BytesIO()
    (image or Image.new("RGB", (20, 10), "red")).save(file, format, **options)
    return file.getvalue()


def flipped(data: bytes) -> bytes:
    return bytes(byte ^ (0x40 if index % 7 == 3 else 0) for index, byte in enumerate(data))


def test_every_hostile_file_is_one_row_in_order():
    folder = Path("hostile")
    folder.mkdir()
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 50, 3), np.uint8))
    jpeg = encoded("JPEG", noise)
    files = {
        "a-empty.jpg": (b"", "is empty"),
        "b-cut.jpg": (jpeg[:700], "damaged"),
        "c-flipped.png": (flipped(encoded("PNG", noise)), "not an image"),
        "d-text.jpg": (b"just text", "not an image"),
        "e-heic.jpg": (b"\0\0\0\x18ftypheic" + bytes(40), "HEIC is not supported"),
        "f-svg.png": (b"<svg xmlns='x'/>", "SVG is not supported"),
        "g-eps.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "EPS is not"),
        "h-pdf.jpg": (b"%PDF-1.7\n", "PDF is not supported"),
        "i-one.png": (encoded("PNG", Image.new("RGB", (1, 1), "red")), None),
        "j-tall.png": (encoded("PNG", Image.new("RGB", (1, 30000), "red")), None),
        "k-wide.png": (encoded("PNG", Image.new("RGB", (30000, 1), "red")), None),
        "l-good.webp": (encoded("WEBP"), None),
    }
    for name, (content, _) in files.items():
        (folder / name).write_bytes(content)
    (folder / "m-broken.jpg").symlink_to("nowhere")
    (folder / "n-loop.jpg").symlink_to("n-loop.jpg")
    (folder / "o-device.jpg").symlink_to("/dev/zero")
    os.mkfifo(folder / "p-pipe.jpg")
    (folder / "up").symlink_to(folder.resolve())
    result = run("colors.engine", "hostile", "-o", "out.jsonl", "--batch-size", 3)
    assert result.exit_code == 1, result.output
    rows = json_rows("out.jsonl")
    reasons = {name: reason for name, (_, reason) in files.items()}
    reasons |= {"m-broken.jpg": "No such file", "n-loop.jpg": "symbolic links"}
    reasons |= {"o-device.jpg": "not a regular file", "p-pipe.jpg": "not a regular file"}
    assert [Path(row["path"]).name for row in rows] == sorted(reasons)
    for row, (name, reason) in zip(rows, sorted(reasons.items()), strict=True):
        assert (row["status"] == "ok") == (reason is None), row
        assert reason is None or reason in row["reason"], row
        assert row["top"][0]["class"] == "red" if reason is None else row["top"] == [], name
    assert "leads to a folder above it" in result.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_files_and_folders_are_rows():
    make_images("images/locked", 2)
    make_images("images", 1)
    Path("images/00000.png").chmod(0)
    Path("images/locked").chmod(0)
    try:
        assert run("colors.engine", "images", "-o", "out.jsonl").exit_code == 1
    finally:
        Path("images/locked").chmod(0o755)
    assert ["Permission denied" in row["reason"] for row in json_rows("out.jsonl")] == [True, True]


NAMES = [b"=1+1.png", b"+a.png", b"-b.png", b"@c.png", b"'d.png", b"new\nline.png", b"back\\slash.png"]
NAMES += [
    b"latin\xe9.png",
    b'tab\t,quote".png',
    "\u202egnp.exe.png".encode(),
    "größe.png".encode(),
    b"\\x41.png",
]


@pytest.mark.parametrize("output", ["out.csv", "out.jsonl", "out.parquet"])
def test_names_are_safe_and_reversible(output):
    content = encoded("PNG")
    for name in NAMES:
        Path(os.fsdecode(name)).write_bytes(content)
    listing = b"\0".join(NAMES) + b"\0"
    process = start("colors.engine", "-", "--null", "-o", output, stdin=subprocess.PIPE)
    process.communicate(listing)
    assert process.returncode == 0
    if output.endswith(".csv"):
        text = Path(output).read_text()
        assert len(text.splitlines()) == 1 + len(NAMES)
        cells = [row["path"] for row in csv_rows(output)]
        assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells)
        paths = [cell[1:] if cell.startswith("'") else cell for cell in cells]
    elif output.endswith(".jsonl"):
        paths = [row["path"] for row in json_rows(output)]
    else:
        paths = pytest.importorskip("pyarrow.parquet").read_table(output).column("path").to_pylist()
    assert [os.fsencode(unescaped_path(path)) for path in paths] == NAMES


def test_equal_base_names_and_repeated_inputs_are_separate_rows():
    make_images("a", 1)
    make_images("b", 1)
    assert run("colors.engine", "a", "b", "a/00000.png", "-o", "out.csv").exit_code == 0
    assert [row["path"] for row in csv_rows("out.csv")] == ["a/00000.png", "b/00000.png", "a/00000.png"]


def test_output_inside_the_input_folder_is_not_an_input():
    make_images("images", 3)
    for _ in range(2):
        result = run("colors.engine", "images", "-o", "images/out.jpg", "--format", "csv")
        assert result.exit_code == 0, result.output
        assert len(csv_rows("images/out.jpg")) == 3


def test_results_never_replace_an_image_or_the_engine():
    (path,) = make_images("images", 1)
    for output, message in ((path, "is not a results file"), ("colors.engine", "is an input")):
        before = Path(output).read_bytes()
        result = run("colors.engine", "images", "-o", output, "--format", "csv")
        assert result.exit_code == 2
        assert message in result.stderr
        assert Path(output).read_bytes() == before


def test_full_device_is_an_error():
    make_images("images", 3)
    result = run("colors.engine", "images", "-o", "/dev/full", "--format", "csv")
    assert result.exit_code == 2
    assert "No space left" in result.stderr


def test_full_disk_keeps_complete_rows_and_can_be_resumed():
    make_images("images", 60)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    process = start("colors.engine", "images", "-o", "out.jsonl", preexec_fn=limit)
    errors = process.communicate()[1].decode()
    assert process.returncode == 3, errors
    assert "File too large" in errors and "--resume" in errors and "Traceback" not in errors
    kept = json_rows("out.jsonl.partial")  # raises for an incomplete record
    assert 0 < len(kept) < 60
    assert run("colors.engine", "images", "-o", "out.jsonl", "--resume").exit_code == 0
    assert [row["path"] for row in json_rows("out.jsonl")] == sorted(map(str, Path("images").iterdir()))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder_is_an_error_before_the_run():
    make_images("images", 1)
    Path("locked").mkdir(mode=0o555)
    result = run("colors.engine", "images", "-o", "locked/out.csv")
    assert result.exit_code == 2
    assert "cannot be written: Permission denied" in result.stderr


def test_deleted_file_is_a_row():
    paths = make_images("images", 3)
    Path("list").write_text("\n".join([*paths, "images/gone.png", paths[0]]))
    with Path("list").open("rb") as listing:
        assert start("colors.engine", "-", "-o", "out.jsonl", stdin=listing).wait() == 1
    rows = json_rows("out.jsonl")
    assert [row["status"] for row in rows] == ["ok", "ok", "ok", "error", "ok"]
    assert "No such file" in rows[3]["reason"]


def test_limits_are_options():
    make_images("images", 1)
    Image.new("RGB", (300, 200)).save("images/large.png")
    Image.new("RGB", (3, 2)).save("images/talkative.jpg", comment=b"x" * 3000)
    result = run("colors.engine", "images", "-o", "o.jsonl", "--max-pixels", 50_000, "--max-metadata", 2000)
    assert result.exit_code == 1
    reasons = [row["reason"] for row in json_rows("o.jsonl")]
    assert reasons[0] is None
    assert "300 x 200 pixels are more than the limit of 50000" in reasons[1]
    assert "bytes of metadata are more than the limit of 2000" in reasons[2]


def test_stdin_list_is_read_as_it_arrives():
    paths = make_images("images", 20)
    process = start("colors.engine", "-", "-o", "out.csv", "--batch-size", 2, stdin=subprocess.PIPE)
    assert process.stdin is not None

    def slowly() -> None:
        for path in paths:
            process.stdin.write(path.encode() + b"\n")
            process.stdin.flush()
        process.stdin.close()

    thread = threading.Thread(target=slowly)
    thread.start()
    assert process.wait() == 0
    thread.join()
    assert [row["path"] for row in csv_rows("out.csv")] == paths


@pytest.mark.parametrize(
    ("limit", "code", "rows"), [("2", 3, 3), ("4", 1, 204), ("1%", 3, 100), ("50%", 1, 204)]
)
def test_max_failures(limit, code, rows):
    make_images("images", 200)
    for index in range(4):
        Path(f"images/!{index}.png").write_text("text")
    result = run("colors.engine", "images", "-o", "out.csv", "--max-failures", limit)
    assert result.exit_code == code, result.output
    assert len(csv_rows("out.csv" if code == 1 else "out.csv.partial")) == rows
    if code == 3:
        assert "--max-failures" in result.stderr and "--resume" in result.stderr
        again = run("colors.engine", "images", "-o", "out.csv", "--resume")
        assert again.exit_code == 1
        assert len(csv_rows("out.csv")) == 204


@pytest.mark.parametrize("text", ["x", "-1", "101%", "5 %", "1/0", "0/3", "4/3", ""])
def test_invalid_limits_and_shards(text):
    make_images("images", 1)
    option = "--shard" if "/" in text else "--max-failures"
    if text:
        assert run("colors.engine", "images", f"{option}={text}").exit_code == 2
    assert run("colors.engine", "images", "--idle", 3).exit_code == 2
    assert run("colors.engine", "images", "-o", "o.csv", "--resume", "--restart").exit_code == 2


@pytest.mark.parametrize("rows_before", [0, 3], ids=["while rows are written", "while it waits for paths"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_without_a_file_there_is_nothing_to_resume(number, code, rows_before):
    paths = make_images("images", rows_before or 30)
    process = start("colors.engine", "-", "--batch-size", 1, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    process.stdin.write("\n".join(paths).encode() + b"\n")
    process.stdin.flush()
    assert process.stdout.readline().startswith(b"path,")
    for _ in range(rows_before):
        process.stdout.readline()
    if rows_before:
        time.sleep(1)  # longer than the pause after which pending paths are flushed
    process.send_signal(number)
    assert process.wait(timeout=60) == code
    errors = process.stderr.read().decode()
    assert "stopped by" in errors and "--resume" not in errors and "Traceback" not in errors
