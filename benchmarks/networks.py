"""The compared networks and their files, which are kept until the code that makes them changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vim_deploy.bench.process import call_isolated
from vim_deploy.model.config import VimConfig, preset
from vim_deploy.ops.library import instruction_set, ort_library

if TYPE_CHECKING:
    from benchmarks.deit import DeitConfig

ROOT = Path(__file__).resolve().parent.parent
HEADS = ("classifier", "map", "upernet")
_HEADS = ROOT / "benchmarks" / "heads.py"
_MAKERS = ROOT / "benchmarks" / "makers.py"
_PACKAGE = ROOT / "vim_deploy"
_VIM_SOURCES = (_PACKAGE / "model", _PACKAGE / "dense", _PACKAGE / "ops", ROOT / "export", _HEADS)
_DEIT_SOURCES = (ROOT / "benchmarks" / "deit.py", _MAKERS, _HEADS)
_ENGINE_SOURCES = (_PACKAGE, ROOT / "engines")


@dataclass(frozen=True)
class Pair:
    """A Vim and the DeiT of its size, for square images of `size` pixels after `at`, under the same head."""

    label: str
    vim: VimConfig  # as a classifier
    deit: dict[str, int]  # fields of DeitConfig
    head: str = HEADS[0]  # see heads.py

    def under(self, head: str) -> Pair:
        return self if head == self.head else replace(self, head=head, label=f"{self.label} {head}")

    def at(self, size: int) -> Pair:
        vim = self.vim.replace(image_size=(size, size))
        return replace(self, vim=vim, deit={**self.deit, "image_size": size})

    @property
    def size(self) -> int:
        return self.vim.image_size[0]


def pairs() -> dict[str, Pair]:
    """The pairs by the name that the command knows."""
    return {
        "tiny": Pair("Ti", preset("vim_tiny"), {"embed_dim": 192, "heads": 3}),
        "small": Pair("S", preset("vim_small"), {"embed_dim": 384, "heads": 6}),
    }


def vim_file(pair: Pair, folder: Path) -> Path:
    """The exported Vim, from the cache if possible."""
    config = {"vim": pair.vim.to_dict(), "head": pair.head}
    key = _digest([config, _versions("torch", "onnxscript")], _VIM_SOURCES)
    return _cached(folder, _file_name("vim", pair), f"{key}.onnx", "export_vim", config)


def deit_file(pair: Pair, folder: Path) -> Path:
    """The exported DeiT, from the cache if possible."""
    config = {"deit": pair.deit, "head": pair.head}
    key = _digest([config, _versions("torch", "onnxscript")], _DEIT_SOURCES)
    return _cached(folder, _file_name("deit", pair), f"{key}.onnx", "export_deit", config)


def deit_int8_model(pair: Pair, folder: Path) -> Path:
    """The DeiT of `deit_file`, quantized by NNCF for OpenVINO; from the cache if possible."""
    source = deit_file(pair, folder)
    key = _digest([source.name, _versions("openvino", "nncf")], (_MAKERS,))
    arguments = {"source": str(source), "size": pair.size}
    made = _cached(folder, _file_name("deit", pair, "int8"), f"{key}.openvino", "quantize_deit", arguments)
    return made / "model.xml"


def vim_engine(pair: Pair, folder: Path, threads: int, precision: str = "fp32") -> Path:
    """The engine that vim-build makes from `vim_file`, from the cache if possible.

    `precision`: of the inputs of matmuls, "fp32", "bf16" or "int8".
    """
    source = vim_file(pair, folder)
    arguments = {"source": str(source), "threads": threads, "precision": precision}
    facts = [source.name, threads, instruction_set(), _versions("onnxruntime", "onnx", "numpy")]
    key = _digest(facts, (*_ENGINE_SOURCES, ort_library()))
    name = _file_name("vim", pair, precision)
    return _cached(folder, name, f"{key}.engine", "build_vim_engine", arguments)


def code_digest() -> str:
    """Of everything that is measured or measures: the package, the operator library and the benchmarks."""
    return _digest([], (*_ENGINE_SOURCES, ort_library(), ROOT / "export", ROOT / "benchmarks"))


def _file_name(network: str, pair: Pair, precision: str | None = None) -> str:
    parts = (network, pair.label.replace(" ", "-"), str(pair.size), precision)
    return "-".join(part for part in parts if part is not None)


def _digest(facts: list[Any], sources: Iterable[Path]) -> str:
    digest = hashlib.sha256(json.dumps(facts).encode())
    for place in sources:
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _cached(folder: Path, name: str, end: str, function: str, arguments: dict[str, Any]) -> Path:
    """`folder`/`name`-`end`, a file or a folder that the function in makers.py writes unless it exists."""
    path = folder / f"{name}-{end}"
    if not path.exists():
        partial = path.with_name(f"{path.stem}.partial{path.suffix}")
        call_isolated(f"benchmarks.makers:{function}", {**arguments, "output": str(partial)})
        partial.replace(path)
    return path


def _versions(*packages: str) -> list[str | None]:
    return [_version(package) for package in packages]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def deit_config(values: dict[str, int]) -> DeitConfig:
    from benchmarks.deit import DeitConfig

    return DeitConfig(**values)


def describe(pair: Pair) -> dict[str, Any]:
    """The pair's configurations, plain JSON."""
    return {
        "label": pair.label,
        "head": pair.head,
        "vim": pair.vim.to_dict(),
        "deit": asdict(deit_config(pair.deit)),
    }
