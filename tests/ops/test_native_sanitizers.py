"""The native tests of the CPU kernels and malformed calls of the operators with sanitizers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import output_of
from small_exports import small_export

ROOT = Path(__file__).resolve().parents[2]
# By name in ctest. tests/plugins builds the programs without the CPU kernels, also with the sanitizers.
PROGRAMS = {
    "selective_scan": "vim_scan_test",
    "fused_operators": "vim_fused_test",
    "int8_matmul": "vim_int8_test",
}


@pytest.fixture(scope="module")
def build(tmp_path_factory) -> Path:
    """A build of the operator library and the native tests of the CPU kernels with sanitizers."""
    folder = tmp_path_factory.mktemp("sanitizers")
    if not (
        shutil.which("cmake") and (shutil.which("c++") or shutil.which("g++") or shutil.which("clang++"))
    ):
        pytest.skip("cmake or a C++ compiler is missing")
    if not can_link_sanitizers(folder):
        pytest.skip("the compiler has no sanitizer libraries")
    options = ["-DVIM_DEPLOY_TESTS=ON", "-DVIM_DEPLOY_SANITIZE=ON", "-DVIM_DEPLOY_WERROR=ON"]
    options += ["-DVIM_DEPLOY_CUDA=OFF", "-DVIM_DEPLOY_TRT=OFF"]
    output_of("cmake", "-S", str(ROOT), "-B", str(folder / "build"), *options)
    targets = ("vim_deploy_ort", *PROGRAMS.values())
    output_of("cmake", "--build", str(folder / "build"), "--parallel", "2", "--target", *targets)
    return folder / "build"


@pytest.mark.slow
def test_native_tests_pass_under_the_sanitizers(build):
    passed = output_of("ctest", "--test-dir", str(build), "-R", "|".join(PROGRAMS))
    assert f"100% tests passed, 0 tests failed out of {len(PROGRAMS)}" in passed


@pytest.mark.slow
def test_malformed_calls_of_the_operators_pass_under_the_sanitizers(build, tmp_path):
    pytest.importorskip("torch", reason="the nodes are those of an exported model")
    (tmp_path / "model.onnx").write_bytes(small_export("fp32"))
    library = build / "lib" / "libvim_deploy_ort.so"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "VIM_DEPLOY_ORT_LIBRARY": str(library)}
    command = [sys.executable, str(ROOT / "tools/fuzz"), "operators", "--count", "400", "--seed", "7"]
    done = subprocess.run(
        [*command, "--model", str(tmp_path / "model.onnx")], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(done.stdout)["results"]
    for operator in ("SelectiveScan", "ScanPair"):
        for result in ("outputs", "error"):
            assert any(name.endswith(f"{operator}: {result}") for name in results)


def can_link_sanitizers(folder: Path) -> bool:
    source = folder / "empty.cpp"
    source.write_text("int main() {}\n")
    command = ["c++", "-fsanitize=address,undefined", str(source), "-o", str(folder / "empty")]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
