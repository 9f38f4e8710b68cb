"""The CUDA scan without a GPU: its source on the CPU, its plans, and nvcc's report.

docs/gpu-results.md lists what these tests cannot show, such as speed and the GPU's memory model.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from native_programs import FUSED, PROGRAMS, SANITIZERS, SCAN, WARNINGS, build, run

# The kernel reads rows of any type in words of up to 16 bytes, and contains pragmas for nvcc.
KERNEL_FLAGS = ("-fno-strict-aliasing", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas")
PLAN_SOURCE = SCAN / "scan_cuda_plan.cpp"
SHIM_SOURCES = [PROGRAMS / "test_scan_cuda_shim.cpp", PROGRAMS / "scan_oracle.cpp", PLAN_SOURCE]
PAIR_SOURCES = [PROGRAMS / "test_pair_cuda_shim.cpp", PROGRAMS / "scan_oracle.cpp", PLAN_SOURCE]
PAIR_SOURCES.append(FUSED / "pair_cuda_plan.cpp")


@pytest.mark.slow
def test_kernel_source_matches_the_contract_under_the_sanitizers(tmp_path: Path) -> None:
    program = build(tmp_path / "shim", SHIM_SOURCES, *SANITIZERS, *KERNEL_FLAGS)
    assert "; 0 failures" in run(program)


@pytest.mark.slow
def test_fused_kernels_match_the_contract_under_the_sanitizers(tmp_path: Path) -> None:
    program = build(tmp_path / "pair", PAIR_SOURCES, *SANITIZERS, *KERNEL_FLAGS)
    assert "; 0 failures" in run(program)


@pytest.mark.slow
def test_kernel_source_with_polynomial_decays(tmp_path: Path) -> None:
    program = build(tmp_path / "shim", SHIM_SOURCES, "-O1", "-DVIM_SCAN_POLYNOMIAL_EVERY=4", *KERNEL_FLAGS)
    assert "; 0 failures" in run(program)


def test_plans_are_valid(tmp_path: Path) -> None:
    sources = [PROGRAMS / "test_cuda_plan.cpp", PLAN_SOURCE, FUSED / "pair_cuda_plan.cpp"]
    assert ": 0 failures" in run(build(tmp_path / "plan", sources, *SANITIZERS, *WARNINGS))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "kernels"),
    [(SCAN / "scan_cuda_float16.cu", 12), (FUSED / "pair_cuda_float16.cu", 6)],
    ids=["scan", "fused"],
)
def test_nvcc_compiles_the_tuned_type_without_spills(source: Path, kernels: int, tmp_path: Path) -> None:
    """Every variant, each with and without output; for the fused operators also two convolutions."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc on PATH: the kernels are not compiled")
    output = str(tmp_path / "kernels.o")
    options = ["-std=c++17", "-O3", "-arch=sm_90", "-Xptxas", "-v", "-Werror", "all-warnings"]
    include = [f"-I{SCAN}", f"-I{FUSED}"]
    command = [nvcc, *options, *include, "-c", str(source), "-o", output]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    counts = r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
    frames = re.findall(counts, done.stderr)
    assert len(frames) == kernels
    assert set(frames) == {("0", "0", "0")}
