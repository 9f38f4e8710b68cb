"""A slow list of paths on standard input: paths are processed once input pauses."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from infer_command import json_rows, start
from PIL import Image
from small_onnx import save, scan_model

from vim_deploy.data.discover import Discovery, FlushMarker, Item
from vim_deploy.engines.build import build_engine

TIMEOUT = 120  # seconds; only a run that waits for more paths reaches it


def test_a_row_is_written_before_the_next_path_arrives(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    build_engine(save(scan_model(length=16, channels=16), Path("scan.onnx")), "scan.engine")
    for name in ("a.png", "b.png"):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(name)
    process = start("scan.engine", "-", "-o", "rows.jsonl", stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(b"a.png\n")
    process.stdin.flush()
    partial, deadline = Path("rows.jsonl.partial"), time.monotonic() + TIMEOUT
    while not (partial.is_file() and b"a.png" in partial.read_bytes()):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.stdin.write(b"b.png\n")
    process.stdin.close()
    assert process.wait(TIMEOUT) == 0
    assert [row["path"] for row in json_rows("rows.jsonl")] == ["a.png", "b.png"]


def test_a_pause_is_one_flush_marker(tmp_path, monkeypatch):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def produce() -> None:
        with fifo.open("wb", buffering=0) as file:
            file.write(b"a.png\nb.p")
            time.sleep(1)
            file.write(b"ng\n")

    producer = threading.Thread(target=produce)
    producer.start()
    with fifo.open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        found = list(Discovery(["-"]).stream())
    producer.join()
    assert [type(given) for given in found] == [Item, FlushMarker, Item]
    assert [given.path for given in found if isinstance(given, Item)] == ["a.png", "b.png"]
