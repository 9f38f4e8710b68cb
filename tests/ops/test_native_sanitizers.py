"""The native tests of the kernel with AddressSanitizer and UndefinedBehaviorSanitizer."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    return result.stdout


@pytest.mark.slow
def test_native_tests_pass_under_the_sanitizers(tmp_path):
    if not (
        shutil.which("cmake") and (shutil.which("c++") or shutil.which("g++") or shutil.which("clang++"))
    ):
        pytest.skip("cmake or a C++ compiler is missing")
    if not can_link_sanitizers(tmp_path):
        pytest.skip("the compiler has no sanitizer libraries")
    options = ["-DVIM_DEPLOY_TESTS=ON", "-DVIM_DEPLOY_SANITIZE=ON", "-DVIM_DEPLOY_WERROR=ON"]
    options += ["-DVIM_DEPLOY_ORT=OFF", "-DVIM_DEPLOY_CUDA=OFF", "-DVIM_DEPLOY_TRT=OFF"]
    run("cmake", "-S", str(ROOT), "-B", str(tmp_path / "build"), *options)
    run("cmake", "--build", str(tmp_path / "build"), "--parallel", "2")
    output = run("ctest", "--test-dir", str(tmp_path / "build"), "--verbose")
    assert " 0 failures" in output


def can_link_sanitizers(folder: Path) -> bool:
    source = folder / "empty.cpp"
    source.write_text("int main() {}\n")
    command = ["c++", "-fsanitize=address,undefined", str(source), "-o", str(folder / "empty")]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
