"""Finds a TensorRT installation and builds the recorder for it."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tensorrt_parsers import interfaces
from tensorrt_parsers.empty_libraries import write_missing_libraries

_SOURCES = Path(__file__).parent / "recorder"
_CACHE = Path(__file__).resolve().parents[2] / "build" / "tensorrt_parsers"
_VERSION = re.compile(r"#define (?:NV_TENSORRT|TRT)_(MAJOR|MINOR|PATCH)(?:_ENTERPRISE)? (\d+)")


class NotAvailableError(Exception):
    """Something that the recorder needs is not there; the message is a reason to skip a test."""


@dataclass(frozen=True)
class Installation:
    """The headers and the parser of one TensorRT version. `version`: such as (8, 6, 0)."""

    include: Path
    parser: Path
    version: tuple[int, ...]

    @property
    def major(self) -> int:
        return self.version[0]

    def __str__(self) -> str:
        return ".".join(map(str, self.version))


def find_installation(root: str | Path | None = None) -> Installation:
    """The installation in a folder with `include` and `lib`, by default TENSORRT_ROOT.

    Raises NotAvailableError with the file that is missing.
    """
    given = root or os.environ.get("TENSORRT_ROOT")
    if not given:
        raise NotAvailableError("TENSORRT_ROOT is not set: no TensorRT parser")
    folder = Path(given).resolve()
    include = folder / "include"
    for name in ("NvInferVersion.h", "NvInferImpl.h", "NvOnnxParser.h"):
        if not (include / name).is_file():
            raise NotAvailableError(f"{include} has no {name}")
    version = _version((include / "NvInferVersion.h").read_text())
    parser = folder / "lib" / f"libnvonnxparser.so.{version[0]}"
    if not parser.is_file():
        raise NotAvailableError(f"there is no {parser}")
    return Installation(include, parser, version)


def _version(text: str) -> tuple[int, ...]:
    found = {name: int(number) for name, number in _VERSION.findall(text)}
    if "MAJOR" not in found:
        raise NotAvailableError("NvInferVersion.h has no version number")
    return tuple(found.get(name, 0) for name in ("MAJOR", "MINOR", "PATCH"))


@dataclass(frozen=True)
class Recorder:
    """The recorder's program for an installation. `library_path`: folders of shared libraries."""

    installation: Installation
    program: Path
    library_path: tuple[Path, ...]

    def command(self, model: Path, description: Path, weights: Path, plugins: tuple[Path, ...]) -> list[str]:
        paths = (self.program, self.installation.parser, model, description, weights, *plugins)
        return [str(path) for path in paths]

    def environment(self) -> dict[str, str]:
        folders = [*map(str, self.library_path), os.environ.get("LD_LIBRARY_PATH", "")]
        return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(filter(None, folders))}


def build_recorder(installation: Installation) -> Recorder:
    """Compiles the recorder, unless `build/` has it already. Raises NotAvailableError, RuntimeError."""
    cuda = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "include"
    if not (cuda / "cuda_runtime_api.h").is_file():
        raise NotAvailableError(f"no CUDA headers in {cuda}, which TensorRT's headers need; set CUDA_HOME")
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise NotAvailableError(f"no C++ compiler: {compiler} is not on PATH (CXX names another)")
    folder = _CACHE / f"{installation}-{_digest(installation)}"
    program = folder / "record_network"
    if not program.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        interfaces.write(installation.include, folder / "interfaces.inc")
        _compile(compiler, installation, cuda, folder, program)
    write_missing_libraries(installation.parser, folder / "lib")
    return Recorder(installation, program, (installation.parser.parent, folder / "lib"))


def _digest(installation: Installation) -> str:
    """Of everything that the program is compiled from."""
    digest = hashlib.sha256()
    sources = [*sorted(_SOURCES.iterdir()), Path(interfaces.__file__)]
    for path in (*sources, *sorted(installation.include.glob("*.h"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _compile(compiler: str, installation: Installation, cuda: Path, folder: Path, program: Path) -> None:
    unfinished = program.with_name(f"unfinished-{os.getpid()}")
    flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-deprecated-declarations"]
    headers = ["-isystem", str(installation.include), "-isystem", str(cuda), f"-I{folder}", f"-I{_SOURCES}"]
    sources = map(str, sorted(_SOURCES.glob("*.cpp")))
    command = [compiler, *flags, *headers, *sources, "-o", str(unfinished), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the recorder does not compile for TensorRT {installation}:\n{done.stderr}")
    unfinished.replace(program)
