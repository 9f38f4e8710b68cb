"""The compared networks and their files, which are exported once per version of their source and cached."""

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

if TYPE_CHECKING:
    from benchmarks.deit import DeitConfig

ROOT = Path(__file__).resolve().parent.parent
HEADS = ("classifier", "map", "upernet")
_HEADS = ROOT / "benchmarks" / "heads.py"
_PACKAGE = ROOT / "vim_deploy"
_VIM_SOURCES = (_PACKAGE / "model", _PACKAGE / "dense", _PACKAGE / "ops", ROOT / "export", _HEADS)
_DEIT_SOURCES = (ROOT / "benchmarks" / "deit.py", ROOT / "benchmarks" / "networks.py", _HEADS)


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
    return _cached(f"vim-{_file_name(pair)}", "export_vim", config, pair.size, _VIM_SOURCES, folder)


def deit_file(pair: Pair, folder: Path) -> Path:
    """The exported DeiT, from the cache if possible."""
    config = {"deit": pair.deit, "head": pair.head}
    return _cached(f"deit-{_file_name(pair)}", "export_deit", config, pair.size, _DEIT_SOURCES, folder)


def vim_engine(pair: Pair, folder: Path, threads: int, precision: str = "fp32") -> Path:
    """The engine that vim-build makes from `vim_file`; always rebuilt, since the build is measured, too.

    `precision`: of the inputs of matmuls, "fp32", "bf16" or "int8".
    """
    output = folder / f"vim-{_file_name(pair)}-{pair.size}-{precision}.engine"
    source = str(vim_file(pair, folder))
    arguments = {"source": source, "output": str(output), "threads": threads, "precision": precision}
    call_isolated("benchmarks.networks:build_vim_engine", arguments)
    return output


def _file_name(pair: Pair) -> str:
    return pair.label.replace(" ", "-")


def _cached(
    name: str, function: str, config: dict[str, Any], size: int, sources: Iterable[Path], folder: Path
) -> Path:
    key = hashlib.sha256(json.dumps([config, _version("torch"), _version("onnxscript")]).encode())
    for place in sources:
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            key.update(file.read_bytes())
    path = folder / f"{name}-{size}-{key.hexdigest()[:12]}.onnx"
    if not path.exists():
        partial = path.with_suffix(".partial.onnx")
        call_isolated(f"benchmarks.networks:{function}", {**config, "output": str(partial)})
        partial.replace(path)
    return path


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def export_vim(vim: dict[str, Any], head: str, output: str) -> None:
    """With synthetic weights. Compared with the eager model by every measurement (measure.py), not here."""
    from benchmarks.heads import vim_config
    from vim_deploy.export.exporter import ExportRequest, export
    from vim_deploy.families.family import ModelSource

    task = {"classifier": "classify", "map": "features", "upernet": "segment"}[head]
    description = Path(output).with_suffix(".json")
    description.write_text(json.dumps(vim_config(VimConfig.from_dict(vim), head)))
    try:
        source = ModelSource(str(description))
        options = {"features": "map"} if head == "map" else {}
        export(ExportRequest(source, Path(output), task=task, task_options=options, check=False))
    finally:
        description.unlink()


def export_deit(deit: dict[str, int], head: str, output: str) -> None:
    """Export with a dynamic batch size, at the exporter's lowest opset, with the exporter's optimizer."""
    import torch

    from benchmarks.heads import deit_model

    settings = deit_config(deit)
    pixels = torch.zeros(2, 3, settings.image_size, settings.image_size)
    program = torch.onnx.export(
        deit_model(settings, head),
        (pixels,),
        dynamo=True,
        opset_version=18,
        input_names=["pixels"],
        output_names=["output"],
        dynamic_shapes={"pixels": {0: torch.export.Dim("batch", min=1)}},
        verbose=False,
    )
    assert program is not None
    program.save(output, external_data=False)


def build_vim_engine(source: str, output: str, threads: int, precision: str) -> None:
    from vim_deploy.engines.build import build_engine
    from vim_deploy.engines.onnxruntime.options import OnnxruntimeOptions

    build_engine(source, output, OnnxruntimeOptions(threads=threads, cpu_precision=precision))


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
