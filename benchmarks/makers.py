"""Makes the files of the compared networks, each in a child process (see networks.py)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.networks import deit_config
from vim_deploy.model.config import VimConfig

_CALIBRATION_IMAGES = 8


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


def quantize_deit(source: str, size: int, output: str) -> None:
    """Quantize matmuls to int8 with NNCF: weights per output channel, activations per tensor, SmoothQuant.

    `source`: the exported DeiT for images of `size` pixels; `output`: a folder for OpenVINO's files.
    Calibrated with random pixels, like those that are measured.
    """
    os.environ["NNCF_CI"] = "1"  # no telemetry
    import nncf
    import openvino

    random = np.random.default_rng(1)
    images = [random.standard_normal((1, 3, size, size), np.float32) for _ in range(_CALIBRATION_IMAGES)]
    model = nncf.quantize(
        openvino.Core().read_model(source),
        nncf.Dataset(images),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(images),
    )
    Path(output).mkdir(exist_ok=True)
    openvino.save_model(model, Path(output) / "model.xml", compress_to_fp16=False)
