"""Limits of the system, closed standard streams, and signals before the first image."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest
from infer_command import COMMAND, ROOT, csv_rows, make_engine, make_images, run, start


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_engine()
    return tmp_path


def limited(kind: int, value: int, *arguments: object) -> tuple[int, str]:
    """Exit code and messages of a run with a limit of the system."""
    process = start(*arguments, preexec_fn=lambda: resource.setrlimit(kind, (value, value)))
    errors = process.communicate(timeout=120)[1].decode()
    assert "Traceback" not in errors, errors
    return process.returncode, errors


@pytest.mark.parametrize("files", [12, 16, 20, 24])
def test_a_decoder_that_cannot_be_started_stops_the_run(files):
    make_images("images", 200)
    code, errors = limited(
        resource.RLIMIT_NOFILE, files, "colors.engine", "images", "-o", "out.csv", "--workers", 8
    )
    if code == 0 and files == 24:  # enough, if few decoders start at the same time
        assert [row["status"] for row in csv_rows("out.csv")] == ["ok"] * 200
        return
    assert code in (2, 3), errors
    assert "Too many open files" in errors
    assert not Path("out.csv").exists()
    if Path("out.csv.partial").exists():
        assert {row["status"] for row in csv_rows("out.csv.partial")} == {"ok"}
    assert run("colors.engine", "images", "-o", "out.csv", "--resume").exit_code == 0
    assert len(csv_rows("out.csv")) == 200


def test_a_decoder_that_cannot_be_started_is_not_an_error_row(monkeypatch):
    make_images("images", 3)
    monkeypatch.setattr("socket.socketpair", lambda: os.open("none", os.O_RDONLY))
    result = run("colors.engine", "images", "-o", "out.csv")
    assert result.exit_code == 3
    assert "a decoder process cannot be started: No such file" in result.stderr
    assert not list(Path().glob("out.csv*"))


@pytest.mark.parametrize("megabytes", [150, 300, 600, 1000, 2000])
def test_a_limit_on_memory_is_a_message(megabytes):
    make_images("images", 20)
    code, errors = limited(resource.RLIMIT_AS, megabytes << 20, "colors.engine", "images", "-o", "out.csv")
    assert code in (0, 2, 3), errors
    assert code == 0 or "error:" in errors


def test_threads_that_cannot_be_started_are_a_message(monkeypatch):
    def fail(*arguments: object) -> None:
        raise RuntimeError("can't start new thread")

    make_images("images", 3)
    monkeypatch.setattr("threading.Thread.start", fail)
    result = run("colors.engine", "images", "-o", "out.csv")
    assert result.exit_code == 2
    assert "a thread cannot be started" in result.stderr and "ulimit -u" in result.stderr


def test_a_full_disk_is_not_said_to_have_rows_of_parquet():
    pytest.importorskip("pyarrow")
    make_images("images", 60)
    code, errors = limited(resource.RLIMIT_FSIZE, 2000, "colors.engine", "images", "-o", "out.parquet")
    assert code == 2, errors
    assert "File too large" in errors and "rows" not in errors and "--resume" not in errors
    assert not list(Path().glob("out.parquet*"))


def closed(descriptor: int, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = " ".join([*(f"'{part}'" for part in COMMAND), *arguments, f"{descriptor}<&-"])
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, shell=True, env=environment, capture_output=True, check=False)


@pytest.mark.parametrize("descriptor", [0, 1, 2])
def test_closed_standard_streams_do_not_matter_with_files(descriptor):
    make_images("images", 3)
    result = closed(descriptor, "colors.engine", "images", "-o", "out.csv", "--json")
    assert result.returncode == 0, result.stderr
    assert b"Traceback" not in result.stderr
    assert [row["status"] for row in csv_rows("out.csv")] == ["ok"] * 3


@pytest.mark.parametrize(
    ("descriptor", "arguments", "message"),
    [
        (0, ("-", "-o", "out.csv"), b"standard input is closed"),
        (1, ("images",), b"standard output is closed"),
    ],
)
def test_a_closed_stream_that_is_needed_is_a_user_error(descriptor, arguments, message):
    make_images("images", 1)
    result = closed(descriptor, "colors.engine", *arguments)
    assert result.returncode == 2
    assert message in result.stderr and b"Traceback" not in result.stderr


def test_a_summary_that_cannot_be_printed_is_a_user_error():
    make_images("images", 1)
    with Path("/dev/full").open("wb") as full:
        process = start("colors.engine", "images", "-o", "out.csv", "--json", stdout=full)
        errors = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 2
    assert "No space left on device" in errors and "Traceback" not in errors
    assert len(csv_rows("out.csv")) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("input", ["nothing", "zeros"])
def test_a_signal_before_the_first_image_ends_the_run(number, input):
    with Path("/dev/zero").open("rb") as zeros:
        process = start(
            *("colors.engine", "-", "--null", "-o", "out.csv"),
            stdin=zeros if input == "zeros" else subprocess.PIPE,
        )
        # The log line that follows the opening of the engine.
        assert process.stderr is not None and process.stderr.readline().startswith(b"info:")
        time.sleep(0.5)
        process.send_signal(number)
        errors = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 128 + number, errors
    assert f"stopped by {signal.Signals(number).name}" in errors and "Traceback" not in errors
    assert not list(Path().glob("out.csv*"))
