"""The networks that are compared, and their files: exported once per version of their source, then kept."""

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
_VIM_SOURCES = (ROOT / "vim_deploy" / "model", ROOT / "vim_deploy" / "ops" / "scan.py", ROOT / "export")
_DEIT_SOURCES = (ROOT / "benchmarks" / "deit.py", ROOT / "benchmarks" / "networks.py")


@dataclass(frozen=True)
class Pair:
    """A Vim and the DeiT of its size, for square images of `size` pixels after `at`."""

    label: str
    vim: VimConfig
    deit: dict[str, int]  # fields of DeitConfig

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
    """The exported Vim, made if it is not there yet."""
    return _cached(f"vim-{pair.label}", "export_vim", pair.vim.to_dict(), pair.size, _VIM_SOURCES, folder)


def deit_file(pair: Pair, folder: Path) -> Path:
    """The exported DeiT, made if it is not there yet."""
    return _cached(f"deit-{pair.label}", "export_deit", pair.deit, pair.size, _DEIT_SOURCES, folder)


def vim_engine(pair: Pair, folder: Path, threads: int) -> Path:
    """The engine that vim-build makes of `vim_file`: built anew, because what builds it is measured."""
    output = folder / f"vim-{pair.label}-{pair.size}.engine"
    arguments = {"source": str(vim_file(pair, folder)), "output": str(output), "threads": threads}
    call_isolated("benchmarks.networks:build_vim_engine", arguments)
    return output


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
        call_isolated(f"benchmarks.networks:{function}", {"config": config, "output": str(partial)})
        partial.replace(path)
    return path


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def export_vim(config: dict[str, Any], output: str) -> None:
    """With generated weights. Compared with the eager model by every measurement (measure.py), not here."""
    from vim_deploy.export.run import ExportRequest, export
    from vim_deploy.export.source import ModelSource

    description = Path(output).with_suffix(".json")
    description.write_text(json.dumps(config))
    try:
        export(ExportRequest(ModelSource(str(description)), Path(output), check=False))
    finally:
        description.unlink()


def export_deit(config: dict[str, int], output: str) -> None:
    """With an open batch size, at the exporter's lowest opset, optimised by the exporter."""
    import torch

    from benchmarks.deit import create_deit

    settings = deit_config(config)
    pixels = torch.zeros(2, 3, settings.image_size, settings.image_size)
    program = torch.onnx.export(
        create_deit(settings),
        (pixels,),
        dynamo=True,
        opset_version=18,
        input_names=["pixels"],
        output_names=["logits"],
        dynamic_shapes={"pixels": {0: torch.export.Dim("batch", min=1)}},
        verbose=False,
    )
    assert program is not None
    program.save(output, external_data=False)


def build_vim_engine(source: str, output: str, threads: int) -> None:
    from vim_deploy.engines.base import BuildOptions
    from vim_deploy.engines.build import build_engine

    build_engine(source, output, options=BuildOptions(threads=threads))


def deit_config(values: dict[str, int]) -> DeitConfig:
    from benchmarks.deit import DeitConfig

    return DeitConfig(**values)


def describe(pair: Pair) -> dict[str, Any]:
    """The pair's configurations, plain JSON."""
    return {"label": pair.label, "vim": pair.vim.to_dict(), "deit": asdict(deit_config(pair.deit))}
