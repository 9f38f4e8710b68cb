"""The kernels for 64-bit Arm in the emulator qemu: `make test-arm`.

`python tools/arm/root.py build/arm` must have been run. The emulator's speed says nothing about a CPU's.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "arm"
DIGITS = ROOT / "examples" / "digits"
IMAGES_PER_CLASS = 4
CPU_KERNELS = "selective_scan|fused_operators|int8_matmul"  # names of native tests
# All instructions; a predecessor of Jetson Orin's Cortex-A78AE; a server. The last two have no bfloat16.
INSTRUCTION_SETS = {
    "max": ("neon_bf16", "neon", "portable"),
    "cortex-a76": ("neon", "portable"),
    "neoverse-n1": ("neon", "portable"),
}


def run(*command: object, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def build(name: str, *options: str) -> Path:
    """A folder with a build of the library and the native tests, which only changed files update."""
    folder = FOLDER / name
    toolchain = f"-DCMAKE_TOOLCHAIN_FILE={ROOT}/tools/arm/aarch64.cmake"
    common = (
        "-DVIM_DEPLOY_TESTS=ON",
        "-DVIM_DEPLOY_WERROR=ON",
        "-DVIM_DEPLOY_CUDA=OFF",
        "-DVIM_DEPLOY_TRT=OFF",
    )
    run("cmake", "-S", ROOT, "-B", folder, toolchain, *common, *options)
    run("cmake", "--build", folder, "--parallel", "2")
    return folder


@pytest.fixture(scope="module")
def native() -> Path:
    return build("native")


@pytest.fixture(scope="module")
def emulated(native):
    """Runs Python in the emulated machine, with the library."""
    python = FOLDER / "python"
    assert python.exists(), "run `python tools/arm/root.py build/arm` first"

    def run_python(*arguments: object, cpu: str = "max", **environment: str) -> str:
        library = str(native / "lib" / "libvim_deploy_ort.so")
        return run(python, *arguments, QEMU_CPU=cpu, VIM_DEPLOY_ORT_LIBRARY=library, **environment)

    return run_python


@pytest.mark.parametrize("cpu", INSTRUCTION_SETS)
def test_instruction_sets_are_those_of_the_cpu(cpu, emulated):
    code = "from vim_deploy.ops.library import usable_instruction_sets as sets; print(*sets())"
    assert tuple(emulated("-c", code, cpu=cpu).split()) == INSTRUCTION_SETS[cpu]


def test_native_tests_pass(native):
    assert "100% tests passed" in run("ctest", "--test-dir", native, "--timeout", "3000", QEMU_CPU="max")


@pytest.mark.parametrize("cpu", [cpu for cpu in INSTRUCTION_SETS if cpu != "max"])
def test_native_tests_of_the_cpu_kernels_pass(cpu, native):
    command = ("ctest", "--test-dir", native, "--timeout", "3000", "-R", CPU_KERNELS)
    assert "100% tests passed, 0 tests failed out of 3" in run(*command, QEMU_CPU=cpu)


def test_native_tests_of_the_cpu_kernels_pass_under_the_sanitizers():
    folder = build("sanitized", "-DVIM_DEPLOY_SANITIZE=ON")
    command = ("ctest", "--test-dir", folder, "--timeout", "3000", "-R", CPU_KERNELS)
    # The leak sanitizer needs ptrace, which the emulator lacks.
    passed = run(*command, QEMU_CPU="max", ASAN_OPTIONS="detect_leaks=0")
    assert "100% tests passed, 0 tests failed out of 3" in passed


@pytest.mark.parametrize("name", INSTRUCTION_SETS["max"])
def test_table_of_cases_and_numerics(name, emulated):
    tests = [ROOT / "tests" / "ops" / file for file in ("test_native_kernel.py", "test_ort_operator.py")]
    options = ("-q", "-p", "no:cacheprovider", "-k", "(equals or bits or NaN or growth) and not every")
    passed = emulated("-m", "pytest", *options, *tests, VIM_DEPLOY_ISA=name)
    assert "passed" in passed and "skipped" not in passed


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    """A folder with the exported classifier, held-out images, and the predictions of this machine."""
    folder = tmp_path_factory.mktemp("digits")
    run(sys.executable, ROOT / "examples" / "write_digits.py", folder / "images")
    for label in (folder / "images").iterdir():
        for image in sorted(label.iterdir())[IMAGES_PER_CLASS:]:
            image.unlink()
    card = DIGITS / "digits.json"
    vim_deploy = (sys.executable, "-m", "vim_deploy")
    run(*vim_deploy, "export", "auto", "--checkpoint", DIGITS / "digits.safetensors", "--class-names", card,
        "--preprocessing", card, "-o", folder / "digits.onnx")  # fmt: skip
    run(*vim_deploy, "infer", folder / "digits.onnx", folder / "images", "-o", folder / "here.csv",
        XDG_CACHE_HOME=str(folder))  # fmt: skip
    return folder


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_digits_are_classified_as_on_this_machine(precision, digits, emulated):
    engine, found = digits / f"{precision}.engine", digits / f"{precision}.csv"
    emulated("-m", "vim_deploy", "build", digits / "digits.onnx", "--cpu-precision", precision, "-o", engine)
    emulated("-m", "vim_deploy", "infer", engine, digits / "images", "-o", found)
    here, there = read(digits / "here.csv"), read(found)
    assert len(there) == 10 * IMAGES_PER_CLASS
    for one, other in zip(here, there, strict=True):
        assert (one["path"], one["top1"], other["status"]) == (other["path"], other["top1"], "ok")
        # bfloat16: docs/performance.md has the differences of this model.
        tolerance = 1e-5 if precision == "fp32" else 2e-2
        assert abs(float(one["top1_probability"]) - float(other["top1_probability"])) < tolerance


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
