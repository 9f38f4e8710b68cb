"""engines/tensorrt on a fake of the NVIDIA driver, which has its rules but no GPU.

The tests are in on_fake_driver_*.py and run in a process that finds the fake as libcuda.so.1.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tensorrt_parsers.driver_library import build_driver
from tensorrt_parsers.installation import NotAvailableError

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def run(folder: Path, tests: str, caller: Path | None = None, **settings: str) -> None:
    try:
        library = build_driver(folder, caller)
    except NotAvailableError as error:
        pytest.skip(str(error))
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(library.parent),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(ROOT)]
    done = subprocess.run(
        [*command, str(HERE / tests)], capture_output=True, text=True, env={**environment, **settings}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout
    assert not done.stderr  # pycuda reports failed calls of the driver there


def test_calls_of_the_driver(tmp_path):
    run(tmp_path, "on_fake_driver_calls.py", FAKE_CUDA_VERSION="12040")


def test_no_device(tmp_path):
    run(tmp_path, "on_fake_driver_no_device.py", FAKE_CUDA_DEVICES="0")


def test_the_runner_with_pycuda(tmp_path):
    package = importlib.util.find_spec("pycuda")
    if package is None or not package.submodule_search_locations:
        pytest.skip("pycuda is not installed (extra: tensorrt)")
    (binding,) = Path(package.submodule_search_locations[0]).glob("_driver*.so")
    run(tmp_path, "on_fake_driver_runner.py", binding)
