"""ONNX Runtime's telemetry is off in all processes: no network calls, and no files but the engine cache."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
WAIT = 12  # seconds that a process is kept alive; the upload of ONNX Runtime 1.31 starts after about 8
STRACE = shutil.which("strace")


@pytest.mark.parametrize(("given", "expected"), [(None, "1"), ("0", "0")])
def test_telemetry_is_off_unless_the_user_sets_the_variable(given, expected):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    if given is not None:
        environment["ORT_DISABLE_TELEMETRY"] = given
    code = "import os, vim_deploy; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == expected


@pytest.mark.slow
@pytest.mark.skipif(STRACE is None, reason="strace is not installed")
def test_export_build_and_infer_use_no_network_and_write_no_other_files(tmp_path):
    pytest.importorskip("torch", reason="vim-export needs PyTorch")
    home = tmp_path / "home"
    home.mkdir()
    config = {"embed_dim": 32, "depth": 2, "image_size": [32, 48], "num_classes": 5}
    (tmp_path / "small.json").write_text(json.dumps(config))
    Image.new("RGB", (60, 40), "teal").save(tmp_path / "image.png")
    commands = {
        "export": ("small.json", "-o", "small.onnx"),
        "build": ("small.onnx", "-o", "small.engine"),
        "infer": ("small.onnx", "image.png", "-o", "rows.csv"),
    }
    processes = [
        _start(tmp_path, home, name, arguments, finished=tmp_path / arguments[-1])
        for name, arguments in commands.items()
    ]
    for process in processes:
        errors = process.communicate(timeout=120)[1]
        assert process.returncode == 0, errors
    for name in commands:
        lines = (tmp_path / f"{name}.trace").read_text().splitlines()
        assert [line for line in lines if "AF_INET" in line] == []
        assert "exited with 0" in lines[-1]
    files = [path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()]
    assert files and all(path.startswith(".cache/vim_deploy/") for path in files), files


def _start(
    folder: Path, home: Path, name: str, arguments: tuple[str, ...], finished: Path
) -> subprocess.Popen[str]:
    """Start a command that is kept alive after it has finished, and return when it has written its output."""
    code = (
        f"import time; from vim_deploy.cli.{name} import main\n"
        f"main({list(arguments)}, standalone_mode=False); time.sleep({WAIT})"
    )
    dropped = ("ORT_DISABLE_TELEMETRY", "VIM_DEPLOY_CACHE", "XDG_CACHE_HOME")
    environment = {key: value for key, value in os.environ.items() if key not in dropped}
    assert STRACE is not None
    process = subprocess.Popen(
        [STRACE, "-f", "-e", "trace=%network", "-o", folder / f"{name}.trace", sys.executable, "-c", code],
        env={**environment, "HOME": str(home), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not finished.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    return process
