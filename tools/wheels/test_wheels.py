"""Builds the release twice and installs the wheels without a compiler: `make test-wheels`, several minutes.

Each of Python 3.10 to 3.14 is searched for on PATH and in the folders of pyenv and uv; INTERPRETERS names
more executables, separated with spaces. Versions that are not found are skipped by name.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from wheels import release

ROOT = release.ROOT
TOOLS = ROOT / ".venv-wheels" / "bin" / "python"
DIGITS = ROOT / "examples" / "digits"
MACHINES = {"x86_64": 62, "aarch64": 183}  # e_machine of the ELF header


def run(*command: str | Path, **options: object) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done.stdout


def hashes(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def build_release(folder: Path) -> Path:
    run(TOOLS, ROOT / "tools/wheels/release.py", "--output", folder)
    return folder


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Path:
    return build_release(tmp_path_factory.mktemp("first"))


@pytest.fixture(scope="session")
def sdist(built) -> Path:
    (file,) = built.glob("*.tar.gz")
    return file


@pytest.fixture(scope="session")
def unpacked(sdist, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    return source


def wheel_of(built: Path, architecture: str) -> Path:
    (wheel,) = built.glob(f"*_{architecture}.whl")
    return wheel


@pytest.fixture(scope="session")
def digits(tmp_path_factory) -> tuple[Path, Path]:
    """The exported digits model, and the folder of images."""
    folder = tmp_path_factory.mktemp("digits")
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    run(sys.executable, ROOT / "examples/write_digits.py", folder / "images", env=variables)
    export = ["auto", "--checkpoint", DIGITS / "digits.safetensors", "--class-names", DIGITS / "digits.json"]
    export += ["--preprocessing", DIGITS / "digits.json", "-o", folder / "digits.onnx"]
    run(sys.executable, "-m", "vim_deploy", "export", *export, env=variables)
    return folder / "digits.onnx", folder / "images"


def interpreter(minor: int) -> str:
    """An executable of this version that can create environments. Skips the test if there is none."""
    name = f"python3.{minor}"
    candidates = [*os.environ.get("INTERPRETERS", "").split(), shutil.which(name)]
    candidates += Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python3")
    candidates += Path.home().glob(f".local/share/uv/python/cpython-3.{minor}.*/bin/python3")
    test = f"import ensurepip, sys, venv; sys.exit(sys.version_info[:2] != (3, {minor}))"
    for candidate in filter(None, candidates):
        if subprocess.run([candidate, "-c", test], capture_output=True, check=False).returncode == 0:
            return str(candidate)
    pytest.skip(f"no {name} with venv and ensurepip was found; INTERPRETERS can name one")


def test_two_builds_write_the_same_bytes(built, tmp_path):
    assert hashes(built) == hashes(build_release(tmp_path / "second"))


def test_the_sdist_has_every_file_of_the_repository(unpacked):
    found = {path.relative_to(unpacked) for path in unpacked.rglob("*") if path.is_file()}
    tracked = {
        path for path in release.tracked_files(ROOT) if path.parts[0] != ".ci" and (ROOT / path).exists()
    }
    assert found == tracked | {Path("PKG-INFO")}


def test_tests_run_from_the_sdist(unpacked, built, tmp_path):
    with zipfile.ZipFile(wheel_of(built, platform.machine())) as wheel:
        library = wheel.extract("vim_deploy/lib/libvim_deploy_ort.so", tmp_path)
    variables = {**os.environ, "PYTHONPATH": str(unpacked), "VIM_DEPLOY_ORT_LIBRARY": library}
    pytest_command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    run(*pytest_command, "--collect-only", "tests", cwd=unpacked, env=variables)
    files = [
        "tests/test_docs.py",
        "tests/ops/test_reference.py",
        "tests/ops/test_cases.py",
        "tests/test_packaging.py",
    ]
    assert " passed" in run(*pytest_command, *files, cwd=unpacked, env=variables)


def test_pip_builds_the_same_files_from_the_sdist(built, sdist, tmp_path):
    """Without the settings of release.py, and with nvcc on PATH if it is installed."""
    variables = {**os.environ, "PATH": f"{TOOLS.parent}:{os.environ['PATH']}"}
    command = [
        TOOLS,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        tmp_path,
        sdist,
    ]
    run(*command, env=variables)
    (wheel,) = tmp_path.glob("*.whl")
    assert contents(wheel) == contents(wheel_of(built, platform.machine()))


def contents(wheel: Path) -> dict[str, bytes]:
    """The installed files, without those that depend on the tag."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith(("/", "/WHEEL", "/RECORD"))]
        return {name: archive.read(name) for name in names}


@pytest.mark.parametrize("architecture", release.ARCHITECTURES)
def test_wheels_have_the_cpu_library_of_their_architecture_and_no_other(built, architecture):
    files = contents(wheel_of(built, architecture))
    libraries = [name for name in files if ".so" in name]
    assert libraries == ["vim_deploy/lib/libvim_deploy_ort.so"]
    assert struct.unpack_from("<H", files[libraries[0]], 18) == (MACHINES[architecture],)
    assert "vim_deploy/py.typed" in files


def test_the_wheel_with_gpu_libraries_is_named_after_cuda_and_has_no_cpu_library(tmp_path):
    if not (shutil.which("nvcc") and os.environ.get("TENSORRT_ROOT")):
        pytest.skip("nvcc is not on PATH, or TENSORRT_ROOT is not set")
    options = ["--output", tmp_path, "--architecture", platform.machine(), "--cuda"]
    options += ["--tensorrt-root", os.environ["TENSORRT_ROOT"]]
    run(TOOLS, ROOT / "tools/wheels/release.py", *options)
    (wheel,) = tmp_path.glob("vim_deploy_cuda13-*.whl")
    files = contents(wheel)
    assert {name for name in files if ".so" in name} == {
        "vim_deploy_cuda/lib/libvim_deploy_ort_cuda.so",
        "vim_deploy_cuda/lib/libvim_deploy_trt.so",
    }
    assert any(name.endswith("/licenses/LICENSE") for name in files)


@pytest.mark.parametrize("minor", release.PYTHON_MINORS)
def test_the_wheel_runs_the_digits_without_a_compiler(built, digits, minor):
    accuracy = json.loads((DIGITS / "digits.json").read_text())["held_out"]["accuracy"]
    script = ROOT / "tools/wheels/check_install.py"
    wheel = wheel_of(built, platform.machine())
    command = [interpreter(minor), script, wheel, *digits, "--accuracy", f"{accuracy - 1e-6}"]
    assert f"Python 3.{minor}." in run(*command)
